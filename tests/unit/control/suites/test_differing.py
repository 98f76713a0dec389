"""What has changed from a call to its replay, and what of that is no change."""

from msgspec.structs import replace

from turncall_control.suites.differing import difference
from turncall_proto.call import EndedReason
from turncall_proto.scenario import Talk, TalkTool, TalkTurn

TOOL = TalkTool(tool="book", arguments={"day": "Tuesday"}, is_ok=True, output={"number": 7})
TURNS = (
    TalkTurn(caller="", agent="Hello."),
    TalkTurn(caller="Book me on Tuesday.", agent="Booked.", latency_ms=700, tools=(TOOL,)),
    TalkTurn(caller="Thank you.", agent="Goodbye.", latency_ms=600),
)
TALK = Talk(turns=TURNS, ended=EndedReason.ASSISTANT_ENDED_CALL)


def test_other_times_and_other_punctuation_are_the_same_call() -> None:
    """No two calls take as long, and a recogniser's commas are no words."""
    again = replace(TALK, turns=(TURNS[0], replace(TURNS[1], caller="book me, on tuesday", latency_ms=9), TURNS[2]))
    found = difference(TALK, again)
    assert (found.is_same, [turn.is_same for turn in found.turns]) == (True, [True] * 3)


def test_an_answer_a_tool_an_end_or_a_use_that_is_not_on_record_is_a_change() -> None:
    """Each by itself; the turns around it stay the same."""
    said = difference(TALK, replace(TALK, turns=(TURNS[0], replace(TURNS[1], agent="Full."), TURNS[2])))
    used = difference(TALK, replace(TALK, turns=(TURNS[0], replace(TURNS[1], tools=()), TURNS[2])))
    for found in (said, used):
        assert (found.is_same, [turn.is_same for turn in found.turns]) == (False, [True, False, True])
    assert not difference(TALK, replace(TALK, ended=EndedReason.CUSTOMER_ENDED_CALL)).is_same
    unmocked = difference(TALK, replace(TALK, unmocked="book({})"))
    assert (unmocked.is_same, unmocked.unmocked) == (False, "book({})")


def test_turns_are_paired_by_what_the_caller_said() -> None:
    """A turn that is left out does not make the ones behind it other ones."""
    found = difference(TALK, replace(TALK, turns=(TURNS[0], TURNS[2])))
    assert [(turn.before, turn.after) for turn in found.turns] == [
        (TURNS[0], TURNS[0]),
        (TURNS[1], None),
        (TURNS[2], TURNS[2]),
    ]
