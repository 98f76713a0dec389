"""A carrier's webhook for an inbound call, answered with TwiML that leads to a worker."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from turncall_testkit.bench.plant import Plant
from turncall_testkit.bench.report import p99
from turncall_testkit.bench.spending import per_second, spent

AT_ONCE: Final = 16
"""Requests under way while the most per second is sought: more of them only wait longer."""
_PLACED: Final = re.compile(r'url="ws://simulated-\d')
_HELD: Final = re.compile(r"waiting_since=\d")


class Unanswered(Exception):
    """A webhook was answered with neither a worker's address nor a request to hold the line; the message shows it."""


class Answered(Struct, frozen=True, kw_only=True):
    """A time of webhooks. ``capacity``: how many each process would manage in a second of a core.

    ``held`` callers were asked to hold the line, since no worker answered in time; their answers count as slow ones.
    """

    per_s: float
    took_ms: tuple[float, ...]
    held: int
    capacity: dict[str, float]

    @property
    def p99_ms(self) -> float:
        """All but one in a hundred were answered sooner."""
        return p99(self.took_ms)


async def most(plant: Plant, lasts_s: float) -> Answered:
    """`AT_ONCE` callers, each followed by the next as soon as it is answered. Raises `Unanswered`."""
    loop = asyncio.get_running_loop()
    used, began_s = spent(plant.pids), loop.time()
    answers: list[tuple[float, bool]] = []

    async def lane() -> None:
        while loop.time() - began_s < lasts_s:
            answers.append(await _answered(plant))

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return _told(answers, loop.time() - began_s, used, spent(plant.pids))


async def steady(plant: Plant, rate_per_s: int, lasts_s: float) -> Answered:
    """Callers come at their times, whatever became of those before them. Raises `Unanswered` within a group."""
    loop = asyncio.get_running_loop()
    used, began_s = spent(plant.pids), loop.time()
    async with asyncio.TaskGroup() as group:
        asking = []
        for number in range(round(rate_per_s * lasts_s)):
            await asyncio.sleep(max(0.0, began_s + number / rate_per_s - loop.time()))
            asking.append(group.create_task(_answered(plant)))
    return _told([task.result() for task in asking], loop.time() - began_s, used, spent(plant.pids))


def _told(
    answers: Sequence[tuple[float, bool]], lasted_s: float, before: Mapping[str, float], after: Mapping[str, float]
) -> Answered:
    return Answered(
        per_s=len(answers) / lasted_s,
        took_ms=tuple(took_ms for took_ms, _ in answers),
        held=sum(is_held for _, is_held in answers),
        capacity=per_second(len(answers), before, after),
    )


async def _answered(plant: Plant) -> tuple[float, bool]:
    """How long one webhook took, and whether its caller has to hold the line."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    _, document = await plant.ring()
    took_ms = 1000 * (loop.time() - began_s)
    if _PLACED.search(document):
        return took_ms, False
    if _HELD.search(document):
        return took_ms, True
    raise Unanswered(document[:500])
