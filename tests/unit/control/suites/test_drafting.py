"""From a call's facts to a scenario that would find the same agent to do the same."""

from datetime import UTC, datetime
from typing import Any

import pytest

from turncall_control.suites import drafting, judging
from turncall_proto import ids
from turncall_proto.call import EndedReason
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.mock import ToolMock
from turncall_proto.scenario import Ends, SaysOneOf, Scripted, Talk, TalkTool, TalkTurn, UsesTool

CALL, PROJECT = CallId(ids.mint(ids.CALL)), ProjectId(ids.mint(ids.PROJECT))


def fact(kind: Any, seq: int, **fields: Any) -> Any:
    header = {"call_id": CALL, "project_id": PROJECT, "epoch": 1, "seq": seq, "at": datetime.now(UTC)}
    return kind(**header, **fields)


def said(seq: int, speaker: str, text: str, start_ms: int) -> TranscriptFinal:
    made: TranscriptFinal = fact(
        TranscriptFinal, seq, speaker=speaker, text=text, start_ms=start_ms, end_ms=start_ms + 500, turn=1
    )
    return made


def used(seq: int, tool: str, arguments: dict[str, Any], output: Any, *, is_ok: bool = True) -> list[Any]:
    answered = {"tool_call_id": f"c{seq}", "tool": tool, "output": output, "is_ok": is_ok, "latency_ms": 5}
    return [
        fact(ToolCalled, seq, tool_call_id=f"c{seq}", tool=tool, arguments=arguments, turn=1),
        fact(ToolReturned, seq + 1, **answered),
    ]


FACTS = [
    said(1, "agent", "Hello.", 0),
    said(3, "caller", "At ten.", 4000),  # stored before what was said earlier
    said(2, "caller", "Tuesday, please.", 2000),
    *used(4, "book", {"day": "Tuesday"}, {"error": "Full."}, is_ok=False),
    *used(6, "book", {"day": "Tuesday"}, {"number": 7}),
    said(8, "agent", "Booked, goodbye.", 6000),
    *used(9, "end_call", {}, {"ended": True}),
]


def test_a_call_becomes_a_scenario_that_it_would_pass_itself() -> None:
    """Lines in the order in which they were said, answers in that in which they were given, and nothing made up."""
    scenario = drafting.drafted("Again", FACTS, {"who": "Ada"}, EndedReason.ASSISTANT_ENDED_CALL)
    assert isinstance(scenario.caller, Scripted)
    assert [step.text for step in scenario.caller.steps] == ["Tuesday, please.", "At ten."]
    assert scenario.mocks == (
        ToolMock(tool="book", arguments={"day": "Tuesday"}, fails="Full."),
        ToolMock(tool="book", arguments={"day": "Tuesday"}, answer={"number": 7}),
    )
    assert scenario.expects == (
        UsesTool(tool="book", arguments={"day": "Tuesday"}),
        Ends(reason=EndedReason.ASSISTANT_ENDED_CALL),
    )
    assert scenario.variables == {"who": "Ada"}
    booking = TalkTool(tool="book", arguments={"day": "Tuesday"}, is_ok=True, output={"number": 7})
    turn = TalkTurn(caller="Tuesday, please.", agent="Booked, goodbye.", tools=(booking,))
    again = Talk(turns=(turn,), ended=EndedReason.ASSISTANT_ENDED_CALL)
    assert judging.complaint(judging.judged(again, scenario.expects)) == ""


def test_a_call_without_tools_is_held_to_its_last_words() -> None:
    """A caller who hung up leaves nothing else that the agent could be held to."""
    talk = [fact for fact in FACTS if isinstance(fact, TranscriptFinal)]
    scenario = drafting.drafted("Again", talk, {}, EndedReason.CUSTOMER_ENDED_CALL)
    assert scenario.expects == (SaysOneOf(any_of=("Booked, goodbye.",)),)


@pytest.mark.parametrize("facts", [[], [said(1, "agent", "Hello?", 0)], [said(1, "caller", "Hello?", 0)]])
def test_a_call_in_which_one_side_is_missing_makes_none(facts: list[Any]) -> None:
    """There is nobody to play, or nothing to hold anybody to."""
    with pytest.raises(drafting.NothingToTest):
        drafting.drafted("Again", facts, {}, EndedReason.CUSTOMER_SILENT)
