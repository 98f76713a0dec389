"""Transcription of OpenAI and of every server that speaks its protocol: Groq, LocalAI, faster-whisper-server…"""

from collections.abc import AsyncGenerator
from typing import Annotated, Final

import httpx2
from msgspec import Meta, Struct
from openai import AsyncOpenAI, OpenAIError
from pipecat.frames.frames import ErrorFrame, Frame, TranscriptionFrame
from pipecat.services.openai.stt import OpenAISTTService, OpenAISTTSettings
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.time import time_now_iso8601

from turncall_media import compatible
from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
OPTIONS_RULES = server.NAMED_IF_COMPATIBLE

_MODEL: Final = "gpt-transcribe"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, and what helps it."""

    model: Model = ""
    base_url: BaseUrl = ""
    prompt: Annotated[str, Meta(max_length=2000, description="Names and words that callers are likely to say.")] = ""
    temperature: Annotated[float, Meta(ge=0, le=1, description="0 is the most literal.")] | None = None
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)


def build(options: Options, context: BuildContext) -> OpenAISTTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    client = server.connect(options.base_url, options.timeout_ms, context)
    return CompatibleSTTService(options, client, context)


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()


class CompatibleSTTService(OpenAISTTService):
    """Sends each stretch of speech that the voice detector found, as one WAV file."""

    def __init__(self, options: Options, client: AsyncOpenAI, context: BuildContext) -> None:
        super().__init__(
            api_key=client.api_key,
            http_client=client._client,
            sample_rate=context.rate_hz,
            settings=OpenAISTTSettings(
                model=options.model or _MODEL,
                language=context.language.split("-", maxsplit=1)[0],  # ISO 639-1: the servers know no regions
                prompt="\n".join(filter(None, (options.prompt, ", ".join(context.keyterms)))) or None,
                temperature=options.temperature,
            ),
        )
        self._client = client

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._client.close()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """One final transcript, none for silence, or an error that says why."""
        await self.start_processing_metrics()
        try:
            said = (await self._transcribe(audio)).text.strip()
        except (OpenAIError, httpx2.HTTPError) as error:
            yield ErrorFrame(error=f"the transcription failed: {error or type(error).__name__}", exception=error)
            return
        finally:
            await self.stop_processing_metrics()
        if said:
            yield TranscriptionFrame(said, self._user_id, time_now_iso8601(), finalized=True)

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return compatible.category(exception)
