"""Speech from one request a sentence: what every such vendor has in common."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, ClassVar, Final

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory

from turncall_media.audio.resampling import Resampler

CHUNK_MS: Final = 100
"""Audio in one frame at most: short, so that an interruption leaves little behind."""
_CONTAINERS: Final = (b"RIFF", b"ID3", b"OggS", b"fLaC")
"""First bytes of files; played as samples they would be noise in the caller's ear."""


class NotPcm(Exception):
    """The server answered with something that cannot be played."""


class SentenceTTSService(TTSService):
    """Speaks sentence by sentence, from the first bytes on. ``from_hz`` is the rate of what `_speech` gives."""

    FAILURES: ClassVar[tuple[type[Exception], ...]]
    """What a vendor's request may raise."""

    def __init__(self, settings: TTSSettings, *, from_hz: int, rate_hz: int, timeout_s: float) -> None:
        super().__init__(
            sample_rate=rate_hz,
            push_start_frame=True,
            push_stop_frames=True,
            stop_frame_timeout_s=timeout_s + 1,
            settings=settings,
        )
        self._from_hz = from_hz
        self._rate_hz = rate_hz

    @abstractmethod
    def _speech(self, text: str) -> AsyncIterator[bytes]:
        """Mono s16le as it arrives, in pieces that may end within a sample. Raises `FAILURES` and `NotPcm`."""

    def can_generate_metrics(self) -> bool:
        """True: characters and the time to the first audio."""
        return True

    async def on_turn_context_completed(self) -> None:
        """Ends the turn's speech even when all of it failed; Pipecat would wait for more of it."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, Any]:
        """Mono s16le at the pipeline's rate, in frames of at most `CHUNK_MS`; or an error, after what was spoken."""
        step = 2 * self._rate_hz * CHUNK_MS // 1000
        try:
            async for speech in self._resampled(text):
                for start in range(0, len(speech), step):
                    yield TTSAudioRawFrame(speech[start : start + step], self._rate_hz, 1, context_id=context_id)
        except self.FAILURES as error:
            yield ErrorFrame(error=f"the speech server failed: {error or type(error).__name__}", exception=error)
        except NotPcm as error:
            yield ErrorFrame(error=str(error), category=ErrorCategory.INVALID_REQUEST, exception=error)

    async def _resampled(self, text: str) -> AsyncIterator[bytes]:
        resampler, is_first = Resampler(self._from_hz, self._rate_hz), True
        async for audio in self._speech(text):
            if is_first:
                await self.start_tts_usage_metrics(text)
                if audio.startswith(_CONTAINERS):
                    raise NotPcm("the speech server answered with a file where raw PCM was asked for")
            is_first = False
            yield resampler.take(audio)
        yield resampler.end()
