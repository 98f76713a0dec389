"""Whether a conversation is what a scenario expects: every expectation both ways, on one conversation."""

from typing import Any

import msgspec
import pytest

from turncall_control.suites import judging, summary
from turncall_control.suites.model import TrialState
from turncall_control.suites.summary import Tried
from turncall_proto.call import EndedReason
from turncall_proto.job import RubricFinding
from turncall_proto.mock import fits
from turncall_proto.scenario import (
    AnswersWithin,
    Ends,
    Expectation,
    MeetsRubric,
    SaysNoneOf,
    SaysOneOf,
    Scenario,
    Talk,
    TalkTool,
    TalkTurn,
    UsesNoTool,
    UsesTool,
    can_fail,
)

BOOKED = TalkTool(tool="book", arguments={"day": "Tuesday", "at": {"hour": 9}}, is_ok=True, output={})
TALK = Talk(
    turns=(
        TalkTurn(caller="", agent="Good morning! The practice, hello."),
        TalkTurn(caller="Tuesday at nine", agent="I've booked nine o'clock.", latency_ms=400, tools=(BOOKED, BOOKED)),
        TalkTurn(caller="Thanks", agent="Goodbye.", latency_ms=900),
    ),
    ended=EndedReason.ASSISTANT_ENDED_CALL,
)
MET: list[Expectation] = [
    SaysOneOf(any_of=("good evening", "GOOD MORNING the")),
    SaysOneOf(any_of=("nine o’clock",), in_reply_to=1),
    SaysOneOf(any_of=("hello",), in_reply_to=0),
    SaysNoneOf(none_of=("good night", "orning")),
    SaysNoneOf(none_of=("goodbye",), in_reply_to=1),
    UsesTool(tool="book", arguments={"at": {"hour": 9}}),
    UsesTool(tool="book", times=2),
    UsesNoTool(tool="cancel"),
    UsesNoTool(tool="book", arguments={"day": "Friday"}),
    Ends(reason=EndedReason.ASSISTANT_ENDED_CALL),
    AnswersWithin(max_ms=900),
]
UNMET: list[Expectation] = [
    SaysOneOf(any_of=("morning good",)),
    SaysOneOf(any_of=("hello",), in_reply_to=1),
    SaysNoneOf(none_of=("booked",)),
    UsesTool(tool="book", arguments={"day": "Friday"}),
    UsesTool(tool="book", arguments={"at": {"hour": 9, "minute": 0}}),
    UsesTool(tool="book", times=1),
    UsesTool(tool="cancel"),
    UsesNoTool(tool="book"),
    Ends(reason=EndedReason.CUSTOMER_ENDED_CALL),
    AnswersWithin(max_ms=899),
]


@pytest.mark.parametrize(
    ("expectation", "is_met"), [*((one, True) for one in MET), *((one, False) for one in UNMET)], ids=repr
)
def test_an_expectation_is_met_or_not_and_says_why(expectation: Expectation, is_met: bool) -> None:
    """By words, not by letters; by what the use of a tool must have, not by all that it has."""
    (found,) = judging.judged(TALK, (expectation,))
    assert found.is_met is is_met
    assert found.why


def test_an_agent_that_does_nothing_passes_no_scenario() -> None:
    """Whatever can stand alone in a scenario is failed by silence: nobody has to trust a suite that is green."""
    silence = Talk(turns=(TalkTurn(caller="Hello?", agent=""),), ended=EndedReason.CUSTOMER_ENDED_CALL)
    caller = {"kind": "script", "steps": [{"step": "say", "text": "Hello?"}]}
    for expectation in (*MET, *UNMET):
        document = {"name": "One", "caller": caller, "expects": [msgspec.to_builtins(expectation)]}
        if can_fail(expectation):
            scenario = msgspec.convert(document, Scenario)
            assert judging.complaint(judging.judged(silence, scenario.expects))
        else:
            with pytest.raises(msgspec.ValidationError, match="does nothing"):
                msgspec.convert(document, Scenario)


@pytest.mark.parametrize("phrase", ["…", "?!", " "])
def test_a_phrase_without_a_word_is_refused(phrase: str) -> None:
    """It would be found in everything that anybody says."""
    with pytest.raises(ValueError, match="without a word"):
        SaysOneOf(any_of=(phrase,))


def test_a_model_is_asked_only_when_every_rule_is_met() -> None:
    """And then what it finds goes to the rubrics in their order."""
    rubrics = (MeetsRubric(holds="It is polite."), MET[0], MeetsRubric(holds="It is brief."))
    found = judging.judged(TALK, rubrics)
    assert judging.rubrics(found) == ("It is polite.", "It is brief.")
    settled = judging.settled(found, (RubricFinding(holds=True, why="Yes."), RubricFinding(holds=False, why="Long.")))
    assert [one.is_met for one in settled] == [True, True, False]
    assert judging.complaint(settled) == "Long."
    failed = judging.judged(TALK, (*rubrics, UNMET[0]))
    assert judging.rubrics(failed) == ()
    assert [one.is_met for one in failed] == [None, True, None, False]


@pytest.mark.parametrize(
    ("asked", "wanted", "is_fit"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, True),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": None}, False),
    ],
)
def test_a_mock_fits_what_has_at_least_its_arguments(asked: Any, wanted: Any, is_fit: bool) -> None:
    """Objects may have more, lists and values are the same, and true is not one."""
    assert fits(asked, wanted) is is_fit


def tried(scenario: str, *states: TrialState) -> list[Tried]:
    return [Tried(scenario=scenario, state=state, used=[{"vendor": "v", "model": "m"}]) for state in states]


_T = TrialState


@pytest.mark.parametrize(
    ("states", "outcome", "flake_rate"),
    [
        ((_T.PASSED, _T.PASSED), "passed", 0),
        ((_T.PASSED, _T.FAILED, _T.PASSED, _T.PASSED), "failed", 0.25),
        ((_T.FAILED, _T.FAILED, _T.FAILED, _T.PASSED), "failed", 0.25),
        ((_T.FAILED, _T.ERROR, _T.QUEUED), "failed", 0),
        ((_T.PASSED, _T.ERROR), "error", 0),
        ((_T.PASSED, _T.TALKING), "pending", 0),
        ((_T.ERROR, _T.JUDGING), "error", None),
        ((_T.PASSED, _T.CANCELED), "canceled", 0),
    ],
)
def test_repeats_add_up_to_an_outcome_and_a_flake_rate(
    states: tuple[TrialState, ...], outcome: str, flake_rate: float | None
) -> None:
    """A failure counts before an error; what could not be found out is in no rate."""
    (result,) = summary.results(tried("One", *states))
    assert (result.outcome, result.flake_rate) == (outcome, flake_rate)


def test_two_runs_are_compared_scenario_by_scenario() -> None:
    """By the part that passed, so that a flake is no break."""
    cases = {
        "fixed": ((_T.FAILED,), (_T.PASSED,)),
        "broken": ((_T.PASSED,), (_T.FAILED, _T.PASSED)),
        "better": ((_T.FAILED,), (_T.FAILED, _T.PASSED)),
        "worse": ((_T.FAILED, _T.PASSED), (_T.FAILED,)),
        "same": ((_T.PASSED,), (_T.PASSED, _T.PASSED)),
        "unknown": ((_T.PASSED,), (_T.ERROR,)),
    }
    before = [one for name, (states, _) in cases.items() for one in tried(name, *states)]
    after = [one for name, (_, states) in cases.items() for one in tried(name, *states)]
    changes = summary.compared(
        summary.results([*before, *tried("removed", _T.PASSED)]), summary.results([*after, *tried("added", _T.PASSED)])
    )
    assert {change.scenario: change.change for change in changes} == {
        name: name for name in (*cases, "added", "removed")
    }
