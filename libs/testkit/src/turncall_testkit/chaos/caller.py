"""A caller with a purpose: to book an appointment at the demonstration's practice, whatever happens to the line.

It answers what it is asked, says again what it is asked to repeat, waits for a sentence that broke off, and says its
last words once more when nobody replies, as people do. What it understands is read from the worker's own record of the
sentences that were begun; what it hears, and for how long it hears nothing, is the carrier's audio.
"""

import asyncio
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

from turncall.demo.patient import MISHEARD, QUESTIONS, REPEAT, Recording
from turncall_phone.calls import Call
from turncall_phone.line import LineClosed
from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ
from turncall_phone.wav import read_wav
from turncall_proto.events import Event, UtteranceBegun
from turncall_proto.ids import CallId
from turncall_testkit.chaos.testimony import Testimony

DAY: Final = "Tuesday"
TIME: Final = "10:00"
LISTENS_MS: Final = 900
"""Silence after which it is the caller's turn."""
PATIENCE_S: Final = 9.0
"""How long a caller waits for a reply before saying it again."""
HOLDS_S: Final = 90.0
"""The same before the first words: callers who are asked to hold do so."""
MOST_NUDGES: Final = 3
HEARD_MS: Final = 60
KNOWN_WITHIN_S: Final = 1.5
"""The worker writes a sentence down when the carrier confirms a little of it."""


class Told(Struct, frozen=True, kw_only=True):
    """How a conversation went for its caller.

    ``failure`` says what was waited for in vain. ``nudges``: nobody replied, so it was said again. ``repeats``: it was
    asked to say it again. ``forgotten``: it was asked what it had already been understood to answer.
    """

    failure: str | None = None
    said: tuple[str, ...] = ()
    nudges: int = 0
    repeats: int = 0
    forgotten: int = 0


class Caller:
    """One caller on the line of ``call``; without ``asks_hours`` the conversation is a question shorter."""

    def __init__(self, call: Call, call_id: CallId, testimony: Testimony, *, asks_hours: bool) -> None:
        self.call = call
        self.call_id = call_id
        self.has_spoken = asyncio.Event()
        self._asks_hours = asks_hours
        self._testimony = testimony
        self._sentences: list[str] = []
        self._heard = 0  # sentences that were reacted to
        self._heard_ms = 0
        self._said: list[Recording] = []
        self._farthest = -1
        self._nudges = self._repeats = self._forgotten = 0

    async def converse(self) -> Told:
        """Talks until the line is closed; gives up, and hangs up, when nobody replies."""
        deafen = self._testimony.listen(self._note)
        failure: str | None = None
        try:
            failure = await self._talk()
            self.call.hang_up()
        except LineClosed:
            failure = None if self._said and self._said[-1] == "goodbye" else self._position("the line was closed")
        finally:
            deafen()
        return Told(
            failure=failure,
            said=tuple(self._said),
            nudges=self._nudges,
            repeats=self._repeats,
            forgotten=self._forgotten,
        )

    def _note(self, fact: Event) -> None:
        if isinstance(fact, UtteranceBegun) and fact.call_id == self.call_id and fact.speaker == "agent":
            self._sentences.append(fact.text.lower())

    async def _talk(self) -> str:
        while True:
            line = await self._next_line()
            if line is None:
                self._nudges += 1
                if self._nudges > MOST_NUDGES or not self._said:
                    return self._position("nobody replied")
                line = self._said[-1]
            await self._say(line)

    async def _next_line(self) -> Recording | None:
        """What to answer once the agent has asked and is silent; None when patience ends first."""
        while await self._listen():
            answer = await self._understand()
            if answer is not None:
                return answer
        return None

    async def _listen(self) -> bool:
        """Whether the agent spoke, and fell silent, before patience ended."""
        line = self.call.line
        wanted_ms = self._heard_ms + HEARD_MS
        deadline = line.position + round((PATIENCE_S if self._said else HOLDS_S) * RATE_HZ)
        await line.until(lambda: line.agent.spoken_ms >= wanted_ms or line.position >= deadline)
        if line.agent.spoken_ms < wanted_ms:
            return False
        await line.until(lambda: line.agent.silent_ms >= LISTENS_MS)
        self._heard_ms = line.agent.spoken_ms
        return True

    async def _understand(self) -> Recording | None:
        line = self.call.line
        until = line.position + round(KNOWN_WITHIN_S * RATE_HZ)
        await line.until(lambda: len(self._sentences) > self._heard or line.position >= until)
        fresh, self._heard = self._sentences[self._heard :], len(self._sentences)
        for sentence in reversed(fresh):
            if (REPEAT in sentence or MISHEARD in sentence) and self._said:
                self._repeats += 1
                return self._said[-1]
            for rank, (part, answer) in enumerate(QUESTIONS):
                if part in sentence:
                    self._forgotten += rank < self._farthest
                    self._farthest = max(self._farthest, rank)
                    return answer if answer != "hours" else self._last_words()
        return None

    def _last_words(self) -> Recording:
        return "hours" if self._asks_hours and "hours" not in self._said else "goodbye"

    async def _say(self, name: Recording) -> None:
        self._said.append(name)
        self.has_spoken.set()
        await self.call.line.speak(recording(name))
        self._heard_ms = self.call.line.agent.spoken_ms

    def _position(self, what: str) -> str:
        return f"{what} after {self._said[-1]!r}" if self._said else f"{what} at all"


@cache
def recording(name: Recording) -> Samples:
    """One of the demonstration's recordings: mono int16 at 8 kHz."""
    return read_wav(files("turncall.demo").joinpath("caller", f"{name}.wav").read_bytes())
