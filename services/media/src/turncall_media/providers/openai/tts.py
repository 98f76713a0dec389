"""Speech of OpenAI and of every server that speaks its protocol: LocalAI, Kokoro-FastAPI, openedai-speech…"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import httpx2
from msgspec import Meta, Struct
from openai import AsyncOpenAI, OpenAIError, omit
from pipecat.services.openai.tts import VALID_VOICES, OpenAITTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory

from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.stages import compatible
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.voices import SentenceTTSService
from turncall_media.stages.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))

_MODEL: Final = "gpt-4o-mini-tts"
OPTIONS_RULES: dict[str, Any] = {
    **server.NAMED_IF_COMPATIBLE,
    "else": {"properties": {"voice": {"enum": sorted(VALID_VOICES)}}},
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how it speaks."""

    voice: Annotated[
        str, Meta(min_length=1, max_length=200, description="One of OpenAI's, or any that your own server has.")
    ] = "alloy"
    model: Model = ""
    base_url: BaseUrl = ""
    instructions: Annotated[str, Meta(max_length=4096, description="How to speak: tone, pace, accent.")] = ""
    speed: Annotated[float, Meta(ge=0.25, le=4, description="1 is the voice's own.")] | None = None
    pcm_rate_hz: Annotated[
        int, Meta(ge=8000, le=48_000, description="Sample rate of the server's raw PCM; OpenAI's is 24000.")
    ] = 24_000
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        server.need_model(self.base_url, self.model)
        if not self.base_url and self.voice not in VALID_VOICES:
            raise ValueError(f"voice must be one of OpenAI's: {', '.join(sorted(VALID_VOICES))}")


def build(options: Options, context: BuildContext) -> TTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    client = server.connect(options.base_url, options.timeout_ms, context)
    return CompatibleTTSService(options, client, context.rate_hz)


def warm() -> None:
    """Loads what all clients share."""
    compatible.warm()


class CompatibleTTSService(SentenceTTSService):
    """Pipecat's own service labels the server's 24 kHz as the pipeline's rate, gathers half a second before it speaks,
    and knows no voices but OpenAI's."""

    FAILURES = (OpenAIError, httpx2.HTTPError)

    def __init__(self, options: Options, client: AsyncOpenAI, rate_hz: int) -> None:
        self._model = options.model or _MODEL
        super().__init__(
            OpenAITTSSettings(
                model=self._model,
                voice=options.voice,
                language=None,
                instructions=options.instructions,
                speed=options.speed,
            ),
            from_hz=options.pcm_rate_hz,
            rate_hz=rate_hz,
            timeout_s=options.timeout_ms / 1000,
        )
        self._options = options
        self._client = client

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._client.close()

    async def _speech(self, text: str) -> AsyncIterator[bytes]:
        request = self._client.audio.speech.with_streaming_response.create(
            input=text,
            model=self._model,
            voice=self._options.voice,
            response_format="pcm",
            instructions=self._options.instructions or omit,
            speed=self._options.speed or omit,
        )
        async with request as answer:
            async for audio in answer.iter_bytes():
                yield audio

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return compatible.category(exception)
