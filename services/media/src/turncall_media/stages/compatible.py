"""What vendors that speak OpenAI's protocol share: clients over connections of ours, and the services of two kinds."""

import ssl
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
from msgspec import Meta
from openai import APIConnectionError, AsyncOpenAI, AsyncStream, OpenAIError
from openai.types.chat import ChatCompletionChunk
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.openai.base_llm import OpenAILLMSettings
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.stt_latency import WHISPER_TTFS_P99
from pipecat.utils.errors import ErrorCategory

from turncall_media.answers import Arguments
from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.utterances import UtteranceSTTService, wav
from turncall_media.stages.web import URL

GatewayUrl = Annotated[
    str,
    Meta(
        pattern=URL,
        max_length=2048,
        description="A gateway of your own, up to and with its /v1; empty for the vendor's. It never gets the vendor's "
        "key of this installation.",
    ),
]


def connect(vendor: str, hosted: str, base_url: str, timeout_ms: int, context: BuildContext) -> AsyncOpenAI:
    """A client that connects when it is first used; its owner closes it. Never asks twice: the pipeline decides that.

    ``hosted`` is the vendor's own server. A user's server, ``base_url``, is reached through the wall. Raises
    `VendorUnusable` for its URL's form, or without a key for the vendor's own. No key, organisation or project comes
    from the environment, where the SDK would look for them.
    """
    http = web.client(vendor, base_url, timeout_ms, context)
    client = AsyncOpenAI(
        api_key=context.secret or "none",
        base_url=base_url or hosted,
        http_client=http,
        timeout=web.patience(timeout_ms),
        max_retries=0,
    )
    client.organization = client.project = None
    return client


def warm() -> ssl.SSLContext:
    """Loads the trusted certificates."""
    return web.warm()


def category(error: Exception) -> ErrorCategory | None:
    """As `web.category`."""
    known = web.category(error)
    return ErrorCategory.CONNECTIVITY if known is None and isinstance(error, APIConnectionError) else known


def llm_settings(
    model: str, temperature: float | None, tokens: dict[str, int | None], **more: Any
) -> OpenAILLMSettings:
    """Settings that send nothing which is None. ``tokens``: the limit, under the name that the server knows it by."""
    given = {"temperature": temperature, **tokens, **more}
    return OpenAILLMSettings(model=model, **{name: value for name, value in given.items() if value is not None})


class CompatibleLLMService(OpenAILLMService):
    """Pipecat's service over a client of ours, which it owns.

    ``knows_developers``: whether the server knows "developer", OpenAI's own name for the system's role in the middle of
    a conversation.
    """

    def __init__(self, settings: OpenAILLMSettings, client: AsyncOpenAI, *, knows_developers: bool = False) -> None:
        self._ours = client
        super().__init__(settings=settings)
        self.supports_developer_role = knows_developers

    def create_client(self, *_: object, **__: object) -> AsyncOpenAI:
        """The client given."""
        return self._ours

    async def get_chat_completions(self, context: LLMContext) -> AsyncIterator[ChatCompletionChunk]:  # type: ignore[override]  # Pipecat closes what it gets, a generator as well as a stream
        """The answer's chunks. Raises `NoAnswer` behind the last one for calls that cannot be made."""
        return _whole(await super().get_chat_completions(context))

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._ours.close()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return category(exception)


class CompatibleSTTService(UtteranceSTTService):
    """Sends each utterance as one WAV file. ``prompt`` is words that callers are likely to say."""

    FAILURES = (OpenAIError, httpx2.HTTPError)

    def __init__(
        self, client: AsyncOpenAI, context: BuildContext, *, model: str, prompt: str, temperature: float | None
    ) -> None:
        super().__init__(model=model, rate_hz=context.rate_hz, ttfs_s=WHISPER_TTFS_P99)
        self._client = client
        self._rate_hz = context.rate_hz
        given: dict[str, Any] = {
            "language": context.language.split("-", maxsplit=1)[0],  # ISO 639-1: the servers know no regions
            "prompt": "\n".join(filter(None, (prompt, ", ".join(context.keyterms)))) or None,
            "temperature": temperature,
        }
        self._given = {"model": model, **{name: value for name, value in given.items() if value is not None}}

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()
        await self._client.close()

    async def _transcribed(self, audio: bytes) -> str:
        file = ("audio.wav", wav(audio, self._rate_hz), "audio/wav")
        answer = await self._client.audio.transcriptions.create(file=file, response_format="json", **self._given)
        return str(answer.text)

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return category(exception)


async def _whole(chunks: AsyncStream[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
    arguments = Arguments()
    async with chunks:
        async for chunk in chunks:
            for call in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices and chunk.choices[0].delta else ():
                arguments.add(call.index, (call.function and call.function.arguments) or "")
            yield chunk
    arguments.check()
