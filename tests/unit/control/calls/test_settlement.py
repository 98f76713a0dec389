"""When the last word on a call may be said, and when its record is complete."""

from datetime import UTC, datetime, timedelta

import pytest

from turncall_control.calls.ledger import Ledger
from turncall_control.calls.settlement import EpochCount, judge
from turncall_control.calls.state import Authority, Mark, Standing
from turncall_proto.call import CallState
from turncall_proto.ids import CallId, ProjectId

OVER_AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOSED = EpochCount(epoch=1, is_closed=True, seen=9, known_seq=9)
OPEN = EpochCount(epoch=1, is_closed=False, seen=9, known_seq=9)
HOLED = EpochCount(epoch=1, is_closed=True, seen=7, known_seq=9)
PLACED = EpochCount(epoch=1, is_closed=False, seen=0, known_seq=0)
NEXT = EpochCount(epoch=2, is_closed=True, seen=3, known_seq=3)


def call(said_by: Authority | None) -> Ledger:
    """A call that is over by somebody's word, or lives."""
    standing = Standing()
    if said_by is not None:
        standing = Standing(status=CallState.COMPLETED, end_mark=Mark(said_by, 0, 5), ended_at=OVER_AT)
    return Ledger(
        call_id=CallId("call_" + "a" * 32),
        project_id=ProjectId("prj_" + "b" * 32),
        provider="twilio",
        account="AC",
        provider_call_id="CA",
        standing=standing,
        control_seq=5,
        event_count=5,
        over_at=OVER_AT if said_by is not None else None,
        concluded_at=None,
        settled_at=None,
    )


@pytest.mark.parametrize(
    ("said_by", "epochs", "after_s", "concludes", "settles", "missing"),
    [
        pytest.param(None, [OPEN], 999, False, False, 0, id="a living call"),
        pytest.param(Authority.CARRIER, [CLOSED], 0, True, True, 0, id="both have spoken"),
        pytest.param(Authority.CARRIER, [], 0, True, True, 0, id="the carrier, and there never was a worker"),
        pytest.param(Authority.WORKER, [CLOSED], 4.9, False, False, 0, id="the carrier may still speak"),
        pytest.param(Authority.WORKER, [CLOSED], 5, True, True, 0, id="the carrier stays silent"),
        pytest.param(Authority.CARRIER, [OPEN], 4.9, False, False, 0, id="the worker may still close"),
        pytest.param(Authority.CARRIER, [OPEN], 5, True, False, 0, id="the worker is gone, its spool may come back"),
        pytest.param(Authority.CARRIER, [OPEN], 60, True, True, 0, id="the worker is gone for good"),
        pytest.param(Authority.CARRIER, [PLACED], 4.9, False, False, 0, id="placed, its first fact may be under way"),
        pytest.param(Authority.CARRIER, [HOLED], 59, False, False, 2, id="a hole that may close"),
        pytest.param(Authority.CARRIER, [HOLED], 60, True, True, 2, id="a hole that stays"),
        pytest.param(Authority.CARRIER, [OPEN, NEXT], 0, True, True, 0, id="an epoch that another one followed"),
        pytest.param(Authority.CARRIER, [HOLED, NEXT], 0, False, False, 2, id="a hole in an earlier epoch"),
    ],
)
def test_verdicts(
    said_by: Authority | None,
    epochs: list[EpochCount],
    after_s: float,
    concludes: bool,
    settles: bool,
    missing: int,
) -> None:
    """At once when all have spoken, five seconds after the first word otherwise, a minute for what is known to miss."""
    verdict = judge(call(said_by), epochs, OVER_AT + timedelta(seconds=after_s))
    assert (verdict.may_conclude, verdict.may_settle, verdict.missing) == (concludes, settles, missing)
