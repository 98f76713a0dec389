"""From the facts of a call by phone to the conversation that a scenario is judged by."""

from datetime import UTC, datetime
from typing import Any

from turncall_control.suites import hearing
from turncall_proto import ids
from turncall_proto.call import EndedReason
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal, TurnMeasured, UsageReported
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.job import ModelUse
from turncall_proto.mock import UNMOCKED
from turncall_proto.scenario import Talk, TalkTool, TalkTurn

CALL, PROJECT = CallId(ids.mint(ids.CALL)), ProjectId(ids.mint(ids.PROJECT))


def fact(kind: Any, seq: int, /, **fields: Any) -> Any:
    header = {"call_id": CALL, "project_id": PROJECT, "epoch": 1, "seq": seq, "at": datetime.now(UTC)}
    return kind(**(header | fields))


def said(seq: int, turn: int, speaker: str, text: str, **fields: Any) -> Any:
    times = {"start_ms": 100 * seq, "end_ms": 100 * seq + 50}
    return fact(TranscriptFinal, seq, speaker=speaker, text=text, turn=turn, **(times | fields))


def used(seq: int, turn: int, output: Any, *, is_ok: bool) -> list[Any]:
    called = {"tool": "book", "arguments": {"day": "Tuesday"}, "bound": {"phone": "1"}, "turn": turn}
    returned = {"tool": "book", "is_ok": is_ok, "output": output, "latency_ms": 5}
    return [
        fact(ToolCalled, seq, tool_call_id=f"c{seq}", **called),
        fact(ToolReturned, seq + 1, tool_call_id=f"c{seq}", **returned),
    ]


def test_a_call_is_heard_turn_by_turn_across_its_workers() -> None:
    """In the order of speech, with the uses of tools and the wait for each answer; a line said in two is one."""
    facts = [
        said(9, 1, "agent", "Booked.", epoch=2),
        fact(TurnMeasured, 8, turn=1, reply_ms=900, epoch=2),
        said(1, 0, "agent", "Hello."),
        said(4, 1, "caller", "Book me"),
        said(5, 2, "caller", "on Tuesday."),
        said(7, 2, "agent", "One moment."),
        said(6, 2, "agent", "Right.", start_ms=510),
        fact(TurnMeasured, 8, turn=2, reply_ms=700),
        *used(10, 2, {"number": 7}, is_ok=True),
    ]
    tool = TalkTool(tool="book", arguments={"day": "Tuesday", "phone": "1"}, is_ok=True, output={"number": 7})
    assert hearing.heard(facts, EndedReason.ASSISTANT_ENDED_CALL) == Talk(
        turns=(
            TalkTurn(caller="", agent="Hello."),
            TalkTurn(caller="Book me on Tuesday.", agent="Right. One moment.", latency_ms=700, tools=(tool,)),
            TalkTurn(caller="", agent="Booked.", latency_ms=900),
        ),
        ended=EndedReason.ASSISTANT_ENDED_CALL,
    )


def test_a_use_that_no_mock_fitted_is_named_and_a_mock_that_fails_is_none() -> None:
    """What the model was told of it is how it is known."""
    failing = [said(1, 1, "caller", "Book me."), *used(2, 1, {"error": "Full."}, is_ok=False)]
    assert hearing.heard(failing, EndedReason.UNKNOWN).unmocked == ""
    unmocked = [*failing, *used(4, 1, {"error": UNMOCKED}, is_ok=False)]
    assert hearing.heard(unmocked, EndedReason.UNKNOWN).unmocked == 'book({"day":"Tuesday"})'


def test_what_models_read_and_wrote_counts_and_sound_does_not() -> None:
    """As for a trial in writing."""
    facts = [
        fact(UsageReported, 1, kind="llm", vendor="acme", model="large", input_tokens=10, output_tokens=2),
        fact(UsageReported, 2, kind="tts", vendor="acme", model="voice", characters=40),
    ]
    assert hearing.used(facts) == (ModelUse(vendor="acme", model="large", input_tokens=10, output_tokens=2),)
