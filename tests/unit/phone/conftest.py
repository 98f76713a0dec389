"""A call on a clock that only moves when told to."""

from datetime import UTC, datetime

import pytest

from turncall_phone import Account, Call
from turncall_phone.calls import CallPlan, CallStatus, Instruction
from turncall_phone.clock import SteppedClock
from turncall_phone.journal import Journal

START = datetime(2026, 11, 3, 9, 15, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> SteppedClock:
    """09:15:02 on a Tuesday."""
    return SteppedClock(start=START)


@pytest.fixture
def journal(clock: SteppedClock) -> Journal:
    """An empty journal."""
    return Journal(clock)


@pytest.fixture
async def call(clock: SteppedClock, journal: Journal) -> Call:
    """An answered inbound call whose line is ticked by hand."""
    answered = Call(
        account=Account(sid="AC" + "5" * 32, auth_token="token"),
        direction="inbound",
        to="+15550100001",
        from_="+15550177777",
        plan=CallPlan(instruction=Instruction(url="http://127.0.0.1/voice")),
        journal=journal,
        clock=clock,
    )
    answered.enter(CallStatus.IN_PROGRESS)
    return answered
