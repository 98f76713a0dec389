"""The text pool in a few lines: takes turns of sessions off the queue and answers them as a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from turncall_bus.bus import Bus, Delivered
from turncall_proto import subjects
from turncall_proto.codec import decode, encode
from turncall_proto.job import JobAnswer, ModelUse, TextTurnDone, TextTurnJob


class Pen:
    """Keeps the turns it is given, and answers those for which ``answer`` has one: an echo of the last message."""

    def __init__(self, bus: Bus) -> None:
        self.turns: list[TextTurnJob] = []
        self.answer: Callable[[TextTurnJob], JobAnswer] | None = self.echo
        self._bus = bus

    def echo(self, turn: TextTurnJob) -> TextTurnDone:
        """The last message, said back."""
        return self.done(turn, f"Echo: {turn.wrote[-1].text}")

    def done(self, turn: TextTurnJob, text: str, **more: Any) -> TextTurnDone:
        """An answer to all that the turn knows of."""
        used = (ModelUse(vendor="echo", model="m", input_tokens=9, output_tokens=2),)
        return TextTurnDone(
            job_id=turn.job_id,
            project_id=turn.project_id,
            at=datetime.now(UTC),
            used=used,
            text=text,
            through=turn.wrote[-1].seq,
            **more,
        )

    async def work(self, message: Delivered) -> None:
        """One turn off the queue."""
        turn = decode(message.data, TextTurnJob)
        self.turns.append(turn)
        if self.answer is not None:
            await self.give(self.answer(turn))

    async def give(self, answer: JobAnswer, suffix: str = "") -> None:
        """Answers; with a ``suffix`` the server does not know a repeat for one."""
        await self._bus.publish(subjects.answers("text_turn"), encode(answer), message_id=f"{answer.job_id}{suffix}")


@asynccontextmanager
async def writing(bus: Bus) -> AsyncIterator[Pen]:
    """A pen at work."""
    pen = Pen(bus)
    working = await bus.work(
        subjects.TC_JOBS.name, "jobs-text_turn", pen.work, subject=subjects.job("text_turn"), at_once=4
    )
    try:
        yield pen
    finally:
        await working.close()
