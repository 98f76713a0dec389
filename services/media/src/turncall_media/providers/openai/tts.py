"""Speech of OpenAI and of every server that speaks its protocol: LocalAI, Kokoro-FastAPI, openedai-speech…"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Final

import httpx2
from msgspec import Meta, Struct
from openai import AsyncOpenAI, OpenAIError, omit
from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.openai.tts import VALID_VOICES, OpenAITTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory

from turncall_media import compatible
from turncall_media.kinds import BuildContext, Capabilities
from turncall_media.providers.openai import server
from turncall_media.providers.openai.server import BaseUrl, Model
from turncall_media.resampling import Resampler
from turncall_media.web import TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))

CHUNK_MS: Final = 100
"""Audio in one frame at most: short, so that an interruption leaves little behind."""
_MODEL: Final = "gpt-4o-mini-tts"
_CONTAINERS: Final = (b"RIFF", b"ID3", b"OggS", b"fLaC")
"""First bytes of files; played as samples they would be noise in the caller's ear."""

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


class CompatibleTTSService(TTSService):
    """Speaks sentence by sentence, from the first bytes on.

    Pipecat's own service labels the server's 24 kHz as the pipeline's rate, gathers half a second before it speaks,
    and knows no voices but OpenAI's.
    """

    def __init__(self, options: Options, client: AsyncOpenAI, rate_hz: int) -> None:
        model = options.model or _MODEL
        super().__init__(
            sample_rate=rate_hz,
            push_start_frame=True,
            push_stop_frames=True,
            stop_frame_timeout_s=options.timeout_ms / 1000 + 1,
            settings=OpenAITTSSettings(
                model=model, voice=options.voice, language=None, instructions=options.instructions, speed=options.speed
            ),
        )
        self._options = options
        self._model = model
        self._rate_hz = rate_hz
        self._client = client

    def can_generate_metrics(self) -> bool:
        """True: characters and the time to the first audio."""
        return True

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._client.close()

    async def on_turn_context_completed(self) -> None:
        """Ends the turn's speech even when all of it failed; Pipecat would wait for more of it."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, Any]:
        """Mono s16le at the pipeline's rate, in frames of at most `CHUNK_MS`; or an error, after what was spoken."""
        step = 2 * self._rate_hz * CHUNK_MS // 1000
        try:
            async for speech in self._speech(text):
                for start in range(0, len(speech), step):
                    yield TTSAudioRawFrame(speech[start : start + step], self._rate_hz, 1, context_id=context_id)
        except (OpenAIError, httpx2.HTTPError) as error:
            yield ErrorFrame(error=f"the speech server failed: {error or type(error).__name__}", exception=error)
        except NotPcm as error:
            yield ErrorFrame(error=str(error), category=ErrorCategory.INVALID_REQUEST, exception=error)

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
            await self.start_tts_usage_metrics(text)
            resampler, is_first = Resampler(self._options.pcm_rate_hz, self._rate_hz), True
            async for audio in answer.iter_bytes():
                if is_first and audio.startswith(_CONTAINERS):
                    raise NotPcm("the speech server answered with a file where raw PCM was asked for")
                is_first = False
                yield resampler.take(audio)
            yield resampler.end()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return compatible.category(exception)


class NotPcm(Exception):
    """The server does not heed ``response_format``."""
