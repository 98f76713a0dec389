"""The demonstration's caller: answers what the receptionist asks, and says it again when it was lost on the way.

It has no ears of its own: what the agent said is read from the call's facts, and said is one of the recordings.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

from turncall.client.shapes import StoredFact
from turncall_phone.calls import CallOver

Recording = Literal["book", "day", "time", "hours", "goodbye"]
REPEAT: Final = "could you say that again"
MISHEARD: Final = "did not understand"
QUESTIONS: Final[tuple[tuple[str, Recording], ...]] = (
    ("how can i help you", "book"),
    ("like to book an appointment", "book"),
    ("which day w", "day"),
    ("at what time", "time"),
    ("is there anything else", "hours"),
)
"""What is asked, by a part of the sentence, in the order of the conversation, and what answers it."""
PATIENCE_S: Final = 12.0
"""How long a reply is waited for before the last words are said again."""
MOST_NUDGES: Final = 3


class Patient:
    """Somebody who wants an appointment. ``say`` plays a recording on the line."""

    def __init__(self, say: Callable[[Recording], Awaitable[None]]) -> None:
        self._say_aloud = say
        self._said: list[Recording] = []
        self._epoch = 0
        self._something = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Meanwhile the last words are said again when nobody replies."""
        nudging = asyncio.create_task(self._nudge(), name="patience")
        try:
            yield
        finally:
            nudging.cancel()
            await asyncio.wait({nudging})

    async def hear(self, fact: StoredFact) -> None:
        """Answers the agent. What an epoch before is late to tell was answered, or was lost with it."""
        is_late, self._epoch = fact.epoch < self._epoch, max(fact.epoch, self._epoch)
        if fact.type != "transcript.final" or fact.data["speaker"] != "agent" or is_late:
            return
        self._something.set()
        answer = self._answer(fact.data["text"].lower())
        if answer is not None:
            await self._say(answer)

    def _answer(self, heard: str) -> Recording | None:
        if self._said and (REPEAT in heard or MISHEARD in heard):
            return self._said[-1]
        answer = next((answer for part, answer in QUESTIONS if part in heard), None)
        return "goodbye" if answer == "hours" and "hours" in self._said else answer

    async def _say(self, name: Recording) -> None:
        self._said.append(name)
        try:
            await self._say_aloud(name)
        except CallOver:
            return  # the call's own facts tell of its end

    async def _nudge(self) -> None:
        nudges = 0
        while nudges < MOST_NUDGES:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._something.wait()
                self._something.clear()
            except TimeoutError:
                nudges += 1
                if self._said:
                    await self._say(self._said[-1])
