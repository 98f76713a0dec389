"""Parts are taken away from live calls, in short; `make chaos` does the same at length, and holds the figures."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from turncall_testkit.chaos import dialling, dossier
from turncall_testkit.chaos.checker import examine
from turncall_testkit.chaos.drill import Drill
from turncall_testkit.chaos.scenario import Scenario, misses, play
from turncall_testkit.chaos.scenarios import BUS_KILLED, DATABASE_AWAY, HELPERS_FAILING, WORKER_KILLED
from turncall_testkit.chaos.scene import Scene, scene

CALLS = 4
SEED = int(os.environ.get("TURNCALL_TEST_CHAOS_SEED", "7"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """An installation with two workers over servers of its own; each scenario gives back what it took."""
    async with scene(tmp_path_factory.mktemp("chaos"), workers=2) as made:
        yield made


@pytest.mark.parametrize(
    "scenario", [BUS_KILLED, HELPERS_FAILING, DATABASE_AWAY, WORKER_KILLED], ids=lambda scenario: scenario.slug
)
async def test_calls_reach_their_end_and_nothing_is_lost(town: Scene, scenario: Scenario, tmp_path: Path) -> None:
    """Each caller gets the one appointment that was asked for, and each fact that was stated is stored once."""
    drill = Drill(town, scenario.slug, calls=CALLS, seed=SEED, is_short=True)
    history = await play(scenario, drill)
    dossier.write(history, tmp_path)
    assert len(history.calls) >= CALLS
    assert misses(scenario, history, examine(history), timed=False) == [], f"seed {SEED}; the calls are in {tmp_path}"


async def test_nobody_is_rung_twice_when_the_dialler_is_killed(town: Scene) -> None:
    """The carrier acts, its answers are lost, and whoever asked is killed: each call ends as the phone was answered."""
    dialled = await dialling.dial(town, seed=SEED, many=6, is_short=True)
    assert dialled.faults() == []
    assert dialled.measures()["placed"] > 0
