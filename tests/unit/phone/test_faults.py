"""When faults strike."""

import msgspec
import pytest

from turncall_phone.faults import AnswerFault, AnyFault, CallbackFault, FaultPlan, LossFault, RestFault, StreamFault
from turncall_phone.journal import FaultStruck, Journal


def strikes(plan: FaultPlan, occasions: int) -> list[bool]:
    """Which of so many occasions were struck."""
    return [plan.strike(AnswerFault, lambda f: f.url in "http://a.example/voice") is not None for _ in range(occasions)]


def test_a_fault_strikes_the_nth_occasion_and_is_spent(journal: Journal) -> None:
    """`skip` lets requests pass, `times` strikes the next, and then it is over."""
    plan = FaultPlan(journal)
    fault_id = plan.add(AnswerFault(url="/voice", effect="timeout", skip=1, times=2))

    assert strikes(plan, 4) == [False, True, True, False]
    assert plan.armed() == ()
    assert journal.facts(FaultStruck) == (FaultStruck(fault_id=fault_id, fault="answer.timeout"),) * 2


def test_faults_elsewhere_do_not_strike(journal: Journal) -> None:
    """Another URL and another kind stay armed."""
    plan = FaultPlan(journal)
    plan.add(AnswerFault(url="/status", effect="reset"))
    plan.add(LossFault(effect="no_action"))

    assert strikes(plan, 2) == [False, False]
    assert len(plan.armed()) == 2


def test_a_fault_can_be_withdrawn_once(journal: Journal) -> None:
    """A withdrawn fault does not strike; withdrawing it again says that it was gone."""
    plan = FaultPlan(journal)
    fault_id = plan.add(AnswerFault(url="/voice", effect="reset"))

    assert plan.withdraw(fault_id) is True
    assert plan.withdraw(fault_id) is False
    assert strikes(plan, 1) == [False]


@pytest.mark.parametrize(
    "fault",
    [
        AnswerFault(url="/voice", effect="status", status_code=404, is_delivered=True),
        CallbackFault(event="completed", effect="hold", delay_s=0.5),
        StreamFault(effect="stall", at_ms=100, for_ms=900, times=3),
        LossFault(effect="unnoticed"),
        RestFault(path="/Calls.json", status_code=None, delay_s=0.2),
    ],
)
def test_every_fault_travels_as_json(fault: AnyFault) -> None:
    """What a client arms is what the carrier gets."""
    assert msgspec.json.decode(msgspec.json.encode(fault), type=AnyFault) == fault
