"""What the placement drill calls a miss."""

from turncall_testkit.chaos.placement import LAGS_MS, Placed

SWIFT = [index for index, lag_ms in enumerate(LAGS_MS) if lag_ms <= 20]
LATE = [index for index, lag_ms in enumerate(LAGS_MS) if lag_ms > 20]


def test_calls_on_swift_workers_in_time_are_no_miss() -> None:
    """Three of five take everything."""
    assert Placed(workers=(*SWIFT,), took_ms=(20.0,) * 3).faults() == []


def test_a_call_on_an_overloaded_worker_is_a_miss() -> None:
    """One is enough."""
    placed = Placed(workers=(*SWIFT, LATE[0]), took_ms=(20.0,) * 4)
    assert placed.faults() == [f"1 calls went to the worker whose loop is {LAGS_MS[LATE[0]]:g} ms late"]
    assert placed.measures()["placed on overloaded workers"] == 1


def test_late_and_missing_answers_are_misses() -> None:
    """Of a hundred the second slowest counts."""
    placed = Placed(workers=(None, *(0,) * 99), took_ms=(*(20.0,) * 98, 400.0, 400.0))
    assert placed.faults() == ["1 calls found no worker", "p99 was 400 ms"]
