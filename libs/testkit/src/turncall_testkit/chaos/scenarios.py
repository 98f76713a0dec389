"""The scenarios and the figure each has to reach."""

from typing import Final

from turncall_phone.faults import LossFault
from turncall_testkit.chaos import outages, overload, workers
from turncall_testkit.chaos.scenario import Scenario

MANY: Final = 1_000
"""Losses that a fault may strike, more than any run has calls."""

WORKER_KILLED: Final = Scenario(
    slug="worker-killed",
    figure="all heard again within 2 s",
    act=workers.kill(),
    gap_s=2.0,
)
WORKER_KILLED_NO_ACTION: Final = Scenario(
    slug="worker-killed-no-action",
    figure="all heard again within 4 s",
    act=workers.kill(LossFault(effect="no_action", times=MANY)),
    gap_s=4.0,
)
WORKER_KILLED_UNNOTICED: Final = Scenario(
    slug="worker-killed-unnoticed",
    figure="all heard again within 4 s",
    act=workers.kill(LossFault(effect="unnoticed", times=MANY)),
    gap_s=4.0,
)
WORKER_FROZEN: Final = Scenario(
    slug="worker-frozen", figure="all heard again within 4 s", act=workers.freeze, gap_s=4.0
)
ONLY_WORKER_KILLED: Final = Scenario(
    slug="only-worker-killed",
    figure="all wait for the next process on its folder, and reach their end",
    act=workers.kill_the_only,
)
WORKERS_DYING: Final = Scenario(
    slug="workers-dying",
    figure="99.9 % of the calls reach their end while one of three workers dies every 5 s",
    act=workers.let_die,
    workers=3,
    measures=workers.deaths,
)
BUS_KILLED: Final = Scenario(
    slug="bus-killed",
    figure="nothing lost or doubled, no call interrupted",
    act=outages.kill_bus,
    is_uninterrupted=True,
)
BUS_AWAY: Final = Scenario(
    slug="bus-away",
    figure="live calls go on, new ones wait and are served",
    act=outages.take_bus_away,
    is_uninterrupted=True,
    also=outages.unanswered,
)
DATABASE_AWAY: Final = Scenario(
    slug="database-away",
    figure="no call affected, new ones answered",
    act=outages.take_database_away,
    is_uninterrupted=True,
    also=outages.unanswered,
)
HELPERS_FAILING: Final = Scenario(
    slug="helpers-failing",
    figure="no call dropped, every recording complete",
    act=outages.fail_helpers,
    is_uninterrupted=True,
    with_recordings=True,
    also=outages.recordings_lack,
)
ROLLING_DEPLOY: Final = Scenario(
    slug="rolling-deploy",
    figure="none dropped, 95 % with a new worker within 1 s, all replaced within 3 minutes",
    act=workers.roll,
    away_s=1.0,
    workers=2,
)
CONTROL_KILLED: Final = Scenario(
    slug="control-killed",
    figure="no call interrupted, every webhook arrives",
    act=workers.kill_control,
    is_uninterrupted=True,
)
OVERLOAD: Final = Scenario(
    slug="overload",
    figure="who has an agent notices nothing, the rest hold or hear that all lines are busy",
    act=overload.arrive_twice,
    is_uninterrupted=True,
    may_turn_away=True,
    workers=overload.WORKERS,
    slots=overload.slots,
    also=overload.degraded,
    also_timed=overload.slowed,
    measures=overload.measures,
)
SCENARIOS: Final = (
    WORKER_KILLED,
    WORKER_KILLED_NO_ACTION,
    WORKER_KILLED_UNNOTICED,
    WORKER_FROZEN,
    ONLY_WORKER_KILLED,
    WORKERS_DYING,
    BUS_KILLED,
    BUS_AWAY,
    DATABASE_AWAY,
    HELPERS_FAILING,
    ROLLING_DEPLOY,
    CONTROL_KILLED,
    OVERLOAD,
)
