"""A voice for the moment when the model that speaks is lost: built and connected then, and never before."""

import asyncio
from collections.abc import Callable
from typing import Final

from pipecat.frames.frames import ErrorFrame, Frame, StartFrame, TTSSpeakFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_runtime import logs

CONNECT_WITHIN_S: Final = 3.0
_log = logs.logger(__name__)


class LastWords(FrameProcessor):
    """Passes everything on, and has each ``TTSSpeakFrame`` spoken by the voice that ``build`` makes.

    Without a voice, which is logged, nothing is said. Runs within its neighbours (direct mode).
    """

    def __init__(self, build: Callable[[], FrameProcessor]) -> None:
        super().__init__(name="LastWords", enable_direct_mode=True)
        self._build = build
        self._voice: FrameProcessor | None = None
        self._start: StartFrame | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._start = frame
        if direction is FrameDirection.DOWNSTREAM and isinstance(frame, TTSSpeakFrame):
            await self._speak(frame)
        elif direction is FrameDirection.DOWNSTREAM and self._voice is not None:
            await self._voice.queue_frame(frame)  # behind what it says
        else:
            await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Releases the voice."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        if self._voice is not None:
            await self._voice.cleanup()  # type: ignore[no-untyped-call]

    async def _speak(self, frame: TTSSpeakFrame) -> None:
        if self._voice is None:
            self._voice = await self._connected()
        if self._voice is not None:
            await self._voice.queue_frame(frame)

    async def _connected(self) -> FrameProcessor | None:
        assert self._start is not None
        try:
            voice = self._build()
            exit_ = _Exit(self)
            exit_.link(voice)
            voice.link(exit_)
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await exit_.setup(self.processor_setup)
                await voice.setup(self.processor_setup)
        except (VendorUnusable, SecretUnusable, TimeoutError) as error:
            _log.error("apology.unspoken", why=str(error) or f"no connection within {CONNECT_WITHIN_S:g} s")
            return None
        await voice.queue_frame(self._start)
        return voice


class _Exit(FrameProcessor):
    """Where the voice's frames come out: they go on behind `LastWords`."""

    def __init__(self, owner: LastWords) -> None:
        super().__init__(enable_direct_mode=True)
        self._owner = owner

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, ErrorFrame):
            _log.error("apology.unspoken", why=frame.error)
        elif not isinstance(frame, StartFrame):
            await self._owner.push_frame(frame, direction)
