"""The agent's avatar in a cascade: it gets a copy of what the voice says, and the voice waits for its lips.

The sound of an utterance is held here, with everything behind it, until the avatar says that its lips move. So what is
played, recorded and told of as heard is the same as without one. An avatar that is late, breaks or cannot be had costs
that wait at most: the call goes on as a voice.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from pipecat.frames.frames import (
    CancelFrame,
    Frame,
    InterruptionFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from turncall_media.audio.resampling import Resampler
from turncall_media.audio.sound import Sound, duration_ms
from turncall_media.report.events import Narrator
from turncall_media.stages.avatars import Avatar, AvatarFailed, Picture
from turncall_runtime import logs

BEGIN_WITHIN_S: Final = 20.0
"""For the vendor to bring the avatar; the agent speaks without it meanwhile."""
SYNC_WITHIN_S: Final = 1.5
"""Longer the voice does not wait for the lips."""
LATE_AT_MOST: Final = 3
"""Utterances in a row for which it was waited in vain, before the avatar counts as lost."""
WAITING_ITEMS: Final = 8000
"""Pieces of speech that an avatar has yet to take: two minutes of them."""
CLOSE_WITHIN_S: Final = 5.0

_PAUSE: Final = object()
_INTERRUPT: Final = object()
_LOST: Final = object()
_log = logs.logger(__name__)


class Face(FrameProcessor):
    """Between the voice and the wire. Runs within its neighbours (direct mode), but for tasks that serve the avatar.

    ``is_on``: the avatar is there, and the voice waits for it.
    """

    def __init__(self, avatar: Avatar, show: Callable[[Picture], None], narrator: Narrator, sound: Sound) -> None:
        super().__init__(name="Face", enable_direct_mode=True)
        self._avatar = avatar
        self._show = show
        self._narrator = narrator
        self._sound = sound
        self._unsaid: asyncio.Queue[object] = asyncio.Queue(WAITING_ITEMS)
        self._serving: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._order = asyncio.Lock()
        self._held: list[Frame] | None = None  # None: nothing waits for the lips
        self._held_ms = 0
        self._speaks_until_s = 0.0
        self._utterance = 0
        self._late = 0
        self.is_on = False
        self._is_lost = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the module."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        match frame:
            case StartFrame():
                await self.push_frame(frame)
                self._serving = self.create_task(self._serve())
            case InterruptionFrame():
                survivors = self._interrupt()
                await self.push_frame(frame)
                for survivor in survivors:
                    await self.push_frame(survivor)
            case CancelFrame():
                self._drop()
                await self.push_frame(frame)
            case SystemFrame():
                await self.push_frame(frame)
            case _:
                if self.is_on:
                    self._give(frame)
                await self._follow(frame)

    async def cleanup(self) -> None:
        """Lets the avatar go."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it unannotated
        self._drop()
        serving, self._serving = self._serving, None
        if serving is not None:
            await self.cancel_task(serving)

    # What the avatar says.

    def show(self, picture: Picture) -> None:
        """The next frame."""
        if not self._is_lost:
            self._show(picture)

    def voiced(self) -> None:
        """Its lips move: the voice begins."""
        self._late = 0
        self._release()

    def failed(self, why: str) -> None:
        """The call goes on without it."""
        if self._is_lost:
            return
        self._is_lost, self.is_on = True, False
        self._narrator.vendor_failed("avatar", why, is_fatal=False)
        self._release()
        self._forget()
        self._unsaid.put_nowait(_LOST)

    # What it is told.

    async def _serve(self) -> None:
        try:
            try:
                async with asyncio.timeout(BEGIN_WITHIN_S):
                    await self._avatar.begin(self)
            except TimeoutError as error:
                raise AvatarFailed(f"it did not come within {BEGIN_WITHIN_S:g} s") from error
            self.is_on = not self._is_lost
            await self._tell()
        except AvatarFailed as error:
            self.failed(str(error))
        except Exception as error:  # noqa: BLE001 - the boundary of a vendor's client: the call goes on without it
            _log.exception("avatar.broke")
            self.failed(f"its client broke: {type(error).__name__}")
        finally:
            self.is_on, self._is_lost = False, True  # that its room closes now is no failure
            await self._close()

    async def _tell(self) -> None:
        resampler = Resampler(self._sound.rate_hz, self._avatar.rate_hz)
        while True:
            match await self._unsaid.get():
                case bytes() as pcm:
                    if ready := resampler.take(pcm):
                        await self._avatar.speak(ready)
                case item if item is _PAUSE:
                    if rest := resampler.end():
                        await self._avatar.speak(rest)
                    await self._avatar.pause()
                    resampler = Resampler(self._sound.rate_hz, self._avatar.rate_hz)
                case item if item is _INTERRUPT:
                    await self._avatar.interrupt()
                    resampler = Resampler(self._sound.rate_hz, self._avatar.rate_hz)
                case _:
                    return

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._avatar.close()
        except TimeoutError:
            _log.warning("avatar.not_closed", within_s=CLOSE_WITHIN_S)

    def _give(self, frame: Frame) -> None:
        """A copy for the avatar; an utterance that begins waits for its lips."""
        if isinstance(frame, TTSStoppedFrame):
            self._put(_PAUSE)
        if not isinstance(frame, TTSAudioRawFrame):
            return
        now_s, ms = self.get_event_loop().time(), duration_ms(frame.audio, frame.sample_rate)
        self._put(frame.audio)
        self._narrator.usage["avatar"].audio_ms += ms
        if self._held is not None:
            self._held_ms += ms
        elif now_s >= self._speaks_until_s:
            self._held, self._held_ms = [], ms
            self._alarm = self.get_event_loop().call_later(SYNC_WITHIN_S, self._in_vain)
        else:
            self._speaks_until_s += ms / 1000

    def _put(self, item: object) -> None:
        try:
            self._unsaid.put_nowait(item)
        except asyncio.QueueFull:
            self.failed("it does not take what the agent says")

    def _in_vain(self) -> None:
        self._late += 1
        if self._late >= LATE_AT_MOST:
            self.failed(f"its lips did not move within {SYNC_WITHIN_S:g} s, {LATE_AT_MOST} times in a row")
        else:
            self._release()

    def _interrupt(self) -> list[Frame]:
        """Nothing that was held is said; the answer is what outlives an interruption."""
        survivors = [frame for frame in self._drop() if not frame.interruptible]
        if self.is_on:
            self._forget()
            self._put(_INTERRUPT)
        return survivors

    def _forget(self) -> None:
        while not self._unsaid.empty():
            self._unsaid.get_nowait()

    # What the caller gets.

    async def _follow(self, frame: Frame) -> None:
        utterance = self._utterance
        if self._held is not None:
            self._held.append(frame)
            return
        async with self._order:
            if utterance == self._utterance or not frame.interruptible:
                await self.push_frame(frame)

    def _release(self) -> None:
        """Lets go what was held, before all that comes now."""
        if self._held is None:
            return
        self._quiet()
        held, self._held = self._held, None
        self._speaks_until_s = self.get_event_loop().time() + self._held_ms / 1000
        task = self.create_task(self._push(held, self._utterance))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _push(self, held: list[Frame], utterance: int) -> None:
        async with self._order:
            for frame in held:
                if utterance == self._utterance or not frame.interruptible:
                    await self.push_frame(frame)

    def _drop(self) -> list[Frame]:
        self._quiet()
        self._utterance += 1
        self._speaks_until_s = 0.0
        held, self._held = self._held, None
        return held or []

    def _quiet(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()
