"""A caller who asks the same thing again and again, and notes on a clock of its own what comes back and when."""

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np
from msgspec import Struct, field

from turncall_phone.calls import Call
from turncall_phone.journal import StreamCleared
from turncall_phone.line import FRAME_MS
from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ
from turncall_testkit.chaos.caller import recording
from turncall_testkit.chaos.gaps import loud

ANSWERED_S: Final = 20.0
WAITS_S: Final = 15.0
HEARD_WITHIN_MS: Final = 4_000
SPEAKS_MS: Final = 600
"""For so long the agent has been speaking when it is interrupted."""
LISTENS_MS: Final = 500
UTTERANCE_GAP_S: Final = 0.5
"""Nothing came for so long: what comes next is another utterance."""


class Unheard(Exception):
    """What a caller waited for did not happen; the message says what."""


class Delivery(Struct, frozen=True):
    """One message of the agent's audio: when it came, and how much."""

    at_s: float
    samples: int


class Notes(Struct, kw_only=True):
    """What one caller noted. ``lates_ms``: for each message but an utterance's first one, how long after its audio was
    due it came, if the first was played as it came and the player keeps nothing in hand; 0 for what came in time."""

    answer_ms: list[float] = field(default_factory=list)
    replies_ms: list[float] = field(default_factory=list)
    clears_ms: list[float] = field(default_factory=list)
    lates_ms: list[float] = field(default_factory=list)
    asked: int = 0

    def add(self, other: "Notes") -> None:
        """Takes over what another caller noted."""
        self.answer_ms += other.answer_ms
        self.replies_ms += other.replies_ms
        self.clears_ms += other.clears_ms
        self.lates_ms += other.lates_ms
        self.asked += other.asked


class Talker:
    """One caller on an answered line. Everything is noted from ``notes_from_s`` on, on the event loop's clock."""

    def __init__(self, call: Call, *, notes_from_s: float = 0.0) -> None:
        self.call = call
        self.notes = Notes()
        self.notes_from_s = notes_from_s
        self._loop = asyncio.get_running_loop()
        self._words = words()
        self._came: list[Delivery] = []
        self._due_s = 0.0
        call.line.on_delivery = self._deliver

    async def greeted(self) -> None:
        """Returns when the first of the greeting came. Raises `Unheard`, `LineClosed`."""
        await self.call.answered(timeout_s=ANSWERED_S)
        began_s = self._loop.time()
        await self._until(lambda: bool(self._came), "the greeting")
        self.notes.answer_ms.append(1000 * (self._came[0].at_s - began_s))

    async def ask(self) -> None:
        """Says its words once the agent is silent, and waits for the reply; one that never comes is not noted."""
        line = self.call.line
        await self._silence()
        await line.speak(self._words)
        # The line says that it is idle one frame after the last one was sent.
        ended_s = self._loop.time() - FRAME_MS / 1000
        until = line.position + HEARD_WITHIN_MS * RATE_HZ // 1000
        await line.until(lambda: self._came[-1].at_s > ended_s or line.position >= until)
        came = next((one.at_s for one in self._came if one.at_s > ended_s), None)
        if ended_s >= self.notes_from_s:
            self.notes.asked += 1
            if came is not None:
                self.notes.replies_ms.append(1000 * (came - ended_s))

    async def interrupt(self) -> None:
        """Asks once the agent is silent, and speaks into the reply."""
        line = self.call.line
        await self._silence()
        await line.speak(self._words)
        await self._until(lambda: line.agent.burst_ms >= SPEAKS_MS, "a reply to interrupt")
        began_ms, cleared = line.at_ms, len(self._clears())
        line.mouth.feed(self._words)
        await line.until(lambda: line.mouth.is_idle)
        self.notes.asked += 1
        if len(clears := self._clears()) > cleared:
            self.notes.clears_ms.append(clears[cleared].at_ms - began_ms)
        await self._until(lambda: line.agent.is_speaking, "the reply to an interruption")

    async def _silence(self) -> None:
        line = self.call.line
        await self._until(lambda: line.ear.is_idle and line.agent.silent_ms >= LISTENS_MS, "silence")

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        line = self.call.line
        end = line.position + round(WAITS_S * RATE_HZ)
        await line.until(lambda: holds() or line.position >= end)
        if not holds():
            raise Unheard(f"call {self.call.sid} waited for {what} in vain, {line.at_ms} ms after the answer")

    def _clears(self) -> list[StreamCleared]:
        return [entry.fact for entry in self.call.journal if isinstance(entry.fact, StreamCleared)]

    def _deliver(self, samples: int) -> None:
        now_s = self._loop.time()
        if not self._came or now_s - max(self._due_s, self._came[-1].at_s) > UTTERANCE_GAP_S:
            self._due_s = now_s
        elif now_s >= self.notes_from_s:
            self.notes.lates_ms.append(max(0.0, 1000 * (now_s - self._due_s)))
        self._due_s += samples / RATE_HZ
        self._came.append(Delivery(now_s, samples))


def words() -> Samples:
    """What is said, from its first sound to its last."""
    pcm = recording("book")
    sounding = np.flatnonzero(loud(pcm.tobytes()))
    frame = RATE_HZ * FRAME_MS // 1000
    return pcm[int(sounding[0]) * frame : (int(sounding[-1]) + 1) * frame]
