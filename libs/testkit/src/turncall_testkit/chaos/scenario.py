"""What a scenario is: something done to live calls, and the figure that it has to reach."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from turncall_testkit.chaos.checker import Findings
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.history import History
from turncall_testkit.chaos.scene import SLOTS


class Scenario(Struct, frozen=True, kw_only=True):
    """A row of the report.

    ``act`` dials and strikes; it returns once it needs nothing more to happen, the calls may still go on. ``figure``
    says in words what is to be reached, ``gap_s`` the longest silence allowed, ``away_s`` for how long 95 % of the
    changes of worker may leave a call without one, ``is_uninterrupted`` that no call may change worker,
    ``may_turn_away`` that callers may be told that all lines are busy. ``also`` names what else is wrong with a
    history, a sentence each, and ``also_timed`` what came too late. ``measures`` are further figures.
    ``slots`` gives those of each worker for a number of calls.
    """

    slug: str
    figure: str
    act: Callable[[Drill], Awaitable[None]]
    gap_s: float | None = None
    away_s: float | None = None
    is_uninterrupted: bool = False
    with_recordings: bool = False
    may_turn_away: bool = False
    workers: int = 1
    replicas: int = 2
    slots: Callable[[int], int] = lambda _: SLOTS
    also: Callable[[History], list[str]] = lambda _: []
    also_timed: Callable[[History], list[str]] = lambda _: []
    measures: Callable[[History], dict[str, float]] = lambda _: {}


def misses(scenario: Scenario, history: History, found: Findings, *, timed: bool) -> list[str]:
    """Why the figure was missed, a sentence each; empty when it was reached. ``timed``: lengths of silences count."""
    faults = [*found.unfinished, *found.broken, *scenario.also(history)]
    if found.forgotten:
        faults.append(f"{found.forgotten} times a caller was asked what had been understood before")
    if scenario.is_uninterrupted and found.resumed:
        faults.append(f"{found.resumed} calls changed worker")
    if found.turned_away and not scenario.may_turn_away:
        faults.append(f"{found.turned_away} callers were told that all lines are busy")
    return faults + late(scenario, history, found) if timed else faults


def late(scenario: Scenario, history: History, found: Findings) -> list[str]:
    """What came too late; how busy the machine was is to be told beside it."""
    return _too_long(scenario, found) + scenario.also_timed(history)


def _too_long(scenario: Scenario, found: Findings) -> list[str]:
    faults = []
    longest, away = max(found.gaps_ms, default=0) / 1000, quantile(found.away_ms, 0.95) / 1000
    if scenario.gap_s is not None and longest > scenario.gap_s:
        late = sum(gap > 1000 * scenario.gap_s for gap in found.gaps_ms)
        faults.append(
            f"{late} of {len(found.gaps_ms)} silences were longer than {scenario.gap_s:g} s, up to {longest:.2f} s"
        )
    if scenario.away_s is not None and away > scenario.away_s:
        faults.append(f"5 % of the calls had no worker for {away:.2f} s or more, {scenario.away_s:g} s allowed")
    return faults


def quantile(values: tuple[int, ...], share: float) -> int:
    """The smallest of ``values`` that at least ``share`` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0


async def play(scenario: Scenario, drill: Drill) -> History:
    """The history of one run."""
    async with drill.watching():
        await scenario.act(drill)
        await drill.all_ended()
        return await drill.history(with_recordings=scenario.with_recordings)
