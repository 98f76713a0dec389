"""Embeddings, of OpenAI and of every server that speaks its protocol: vLLM, LocalAI, Ollama…"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import httpx2
import numpy as np
from msgspec import Meta, Struct
from openai import AsyncOpenAI, OpenAIError
from pipecat.utils.errors import ErrorCategory

from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.stages import compatible, web
from turncall_media.stages.embedders import MOST_DIMENSIONS, EmbedderFailed, Vectors
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "text-embedding-3-small"
_REFUSALS: Final = frozenset({400, 401, 403, 404, 422})


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and how long its vectors are."""

    model: Model = ""
    base_url: BaseUrl = ""
    dimensions: (
        Annotated[int, Meta(ge=64, le=MOST_DIMENSIONS, description="For models that can shorten their vectors.")] | None
    ) = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> "OpenAIEmbedder":
    """The model. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    client = server.connect(options.base_url, options.timeout_ms, context)
    return OpenAIEmbedder(client, options.model or _MODEL, options.dimensions)


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()


class OpenAIEmbedder:
    """Asks for each batch once; who waits decides whether to ask again."""

    batch = 128

    def __init__(self, client: AsyncOpenAI, model: str, dimensions: int | None) -> None:
        self.model = model
        self._client = client
        self._given: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}

    async def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """See `Embedder`."""
        try:
            answer = await self._client.embeddings.create(
                model=self.model, input=list(texts), encoding_format="float", **self._given
            )
        except (OpenAIError, httpx2.HTTPError) as error:
            is_refused = web.category(error) is ErrorCategory.INVALID_REQUEST
            is_final = is_refused or getattr(error, "status_code", None) in _REFUSALS
            raise EmbedderFailed("openai", str(error) or type(error).__name__, is_final=is_final) from error
        rows = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        if len(rows) != len(texts) or len({len(row) for row in rows}) != 1 or len(rows[0]) > MOST_DIMENSIONS:
            raise EmbedderFailed("openai", f"{self.model} gave vectors that cannot be used", is_final=True)
        return np.asarray(rows, dtype=np.float32), answer.usage.prompt_tokens if answer.usage else 0

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()
