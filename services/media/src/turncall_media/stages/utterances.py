"""Transcription of one utterance at a time: what every such vendor has in common."""

import io
import wave
from abc import abstractmethod
from collections.abc import AsyncGenerator
from typing import ClassVar

from pipecat.frames.frames import ErrorFrame, Frame, TranscriptionFrame
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.utils.time import time_now_iso8601


class UtteranceSTTService(SegmentedSTTService):
    """Gives each stretch of speech that the voice detector found to the vendor, as bare samples."""

    FAILURES: ClassVar[tuple[type[Exception], ...]]
    """What the vendor may raise."""

    def __init__(self, *, model: str, rate_hz: int, ttfs_s: float) -> None:
        """``ttfs_s`` is how long the words take, at p99."""
        settings = STTSettings(model=model, language=None)
        super().__init__(sample_rate=rate_hz, ttfs_p99_latency=ttfs_s, settings=settings)

    @abstractmethod
    async def _transcribed(self, audio: bytes) -> str:
        """The words in ``audio``, mono s16le at the pipeline's rate; none for silence. Raises `FAILURES`."""

    @property
    def wants_wav_segments(self) -> bool:
        """No."""
        return False

    async def cleanup(self) -> None:
        """Ends the task that Pipecat leaves behind when a service was not usable from the start."""
        await self._cancel_segment_task()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await super().cleanup()  # type: ignore[no-untyped-call]

    def can_generate_metrics(self) -> bool:
        """True: seconds of audio, and the time to the transcript."""
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """One final transcript, none for silence, or an error that says why."""
        await self.start_processing_metrics()
        try:
            said = (await self._transcribed(audio)).strip()
        except self.FAILURES as error:
            yield ErrorFrame(error=f"the transcription failed: {error or type(error).__name__}", exception=error)
            return
        finally:
            await self.stop_processing_metrics()
        if said:
            yield TranscriptionFrame(said, self._user_id, time_now_iso8601(), finalized=True)


def wav(audio: bytes, rate_hz: int) -> bytes:
    """Mono s16le as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(audio)
    return file.getvalue()
