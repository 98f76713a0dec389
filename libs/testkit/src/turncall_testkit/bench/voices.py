"""The benches of live calls, one call at a time: how soon the agent is heard, answers, and falls silent."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from turncall.capacity.sample import percentile
from turncall_testkit.bench.calls import calls
from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.memory import memory
from turncall_testkit.bench.spending import loop_ms, per_second, spent
from turncall_testkit.bench.studio import SIMULATED_MS, STOP_WINDOW_MS, VOICE_MS, Studio
from turncall_testkit.bench.talk import Notes, Talker
from turncall_testkit.chaos.machine import watching

ANSWERS: Final = 10
"""Calls of a round that are answered."""
TURNS: Final = 6
"""Of one call."""
ENDED_S: Final = 20.0
START_WINDOW_MS: Final = 200
"""Speech that has to last before it is taken for an interruption: an agent's default."""


async def answer(studio: Studio, size: Size, folder: Path) -> Measured:
    """Calls that hang up when they have heard the greeting."""
    rounds, rest = await _rounds(studio, size, max(2, round(ANSWERS * size.share)), 0, Talker.ask)
    heard = [[came_ms - VOICE_MS for came_ms in one.answer_ms] for one in rounds]
    return Measured(
        unit="calls",
        figures=(
            figure(
                "P6",
                "answer",
                "answer to first audio, without the vendor, p50",
                "ms",
                _each(heard, 0.5),
                300,
                is_upward=False,
            ),
            figure("P6", "answer", "the same, p95", "ms", _each(heard, 0.95), 300, is_upward=False),
        ),
        counted={"calls greeted": sum(map(len, heard))},
        **rest,
    )


async def turns(studio: Studio, size: Size, folder: Path) -> Measured:
    """One caller who asks again and again: what is added to the stop window and the vendors' time."""
    rounds, rest = await _rounds(studio, size, 1, max(1, round(TURNS * size.share)), Talker.ask)
    added = [[came_ms - STOP_WINDOW_MS - SIMULATED_MS for came_ms in one.replies_ms] for one in rounds]
    return Measured(
        unit="turns",
        figures=(
            figure("P4", "turn", "added to an idle worker's reply, p50", "ms", _each(added, 0.5), 20, is_upward=False),
            figure("P4", "turn", "the same, p95", "ms", _each(added, 0.95), 50, is_upward=False),
        ),
        counted={"turns asked": sum(one.asked for one in rounds), "of them answered": sum(map(len, added))},
        **rest,
    )


async def barge_in(studio: Studio, size: Size, folder: Path) -> Measured:
    """One caller who speaks into every reply."""
    rounds, rest = await _rounds(studio, size, 1, max(1, round(TURNS * size.share)), Talker.interrupt)
    silenced = [[clear_ms - START_WINDOW_MS for clear_ms in one.clears_ms] for one in rounds]
    return Measured(
        unit="turns",
        figures=(
            figure(
                "P5",
                "barge-in",
                "speech to clear, beyond the start window, p50",
                "ms",
                _each(silenced, 0.5),
                200,
                is_upward=False,
            ),
            figure("P5", "barge-in", "the same, p95", "ms", _each(silenced, 0.95), 200, is_upward=False),
        ),
        counted={"interruptions": sum(one.asked for one in rounds), "of them cleared": sum(map(len, silenced))},
        **rest,
    )


VOICES: Final[dict[str, Callable[[Studio, Size, Path], Awaitable[Measured]]]] = {
    "answer": answer,
    "turns": turns,
    "barge_in": barge_in,
    "calls": calls,
    "memory": memory,
}


async def _rounds(
    studio: Studio, size: Size, calls: int, asked: int, act: Callable[[Talker], Awaitable[None]]
) -> tuple[list[Notes], dict[str, Any]]:
    """``calls`` one after another in each round, each with ``asked`` acts; what was noted, and what a bench tells
    beside its figures."""
    noted, capacities, loops_ms = list[Notes](), list[dict[str, float]](), list[tuple[float, float]]()
    await _call(studio, 0, act)  # caches and connections
    async with watching() as watch:
        for _ in range(size.rounds):
            loops_ms.append(loop_ms())
            used, notes = spent(studio.pids), Notes()
            for _ in range(calls):
                notes.add(await _call(studio, asked, act))
            capacities.append(per_second(calls * max(1, asked), used, spent(studio.pids)))
            noted.append(notes)
        load = watch.load()
    rest: dict[str, Any] = {"capacities": tuple(capacities), "profile": {}, "load": load, "loops_ms": tuple(loops_ms)}
    return noted, rest


async def _call(studio: Studio, asked: int, act: Callable[[Talker], Awaitable[None]]) -> Notes:
    call = await studio.dial()
    talker = Talker(call)
    await talker.greeted()
    for _ in range(asked):
        await act(talker)
    call.hang_up()
    await call.settled(timeout_s=ENDED_S)
    return talker.notes


def _each(rounds: Sequence[Sequence[float]], share: float) -> list[float]:
    return [percentile(one, share) for one in rounds]
