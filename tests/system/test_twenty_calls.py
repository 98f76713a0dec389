"""Twenty callers at once, over the carrier's own wire."""

import asyncio

from turncall.demo.record import holes, read_record
from turncall.demo.run import UTTERANCES
from turncall_phone.calls import CallStatus
from turncall_proto.agent import AgentSpec
from turncall_testkit.house import House, conversation, script_failure

CALLS_AT_ONCE = 20
LASTS_S = 180.0


async def test_twenty_calls_at_once_each_keep_their_own_story(house: House, agent: AgentSpec) -> None:
    """On one worker: each transcript is its script's, each fact is stored once, each call ends once and says why."""
    _, number = await house.answering(agent, name="twenty at once")
    calls = []
    for line in range(CALLS_AT_ONCE):
        calls.append(await house.dial(number, conversation(*UTTERANCES), caller=f"+1555019{line:04}"))
        await asyncio.sleep(0.05)
    ends = await asyncio.gather(*(call.ended(timeout_s=LASTS_S) for call in calls))
    assert set(ends) == {CallStatus.COMPLETED}
    callers, bookings = set(), set()
    for call in calls:
        view = await house.record_of(call)
        record = await read_record(house.api, view.id)
        assert script_failure(call) is None, [(words.speaker, words.text) for words in record.utterances]
        assert (view.status, view.ended_reason) == ("completed", "assistant_ended_call")
        assert holes(record.facts) == []
        assert [fact.type for fact in record.facts].count("call.ended") == 1
        assert view.missing_events == 0
        (booking,) = [use for use in record.tools if use.tool == "book_appointment"]
        assert booking.is_ok
        bookings.add(booking.output["number"])
        callers.add(tuple(words.text for words in record.utterances if words.speaker == "caller"))
        assert len([words for words in record.utterances if words.speaker == "agent"]) >= len(UTTERANCES)
    assert len(bookings) == CALLS_AT_ONCE, "every call booked its own appointment"
    assert len(callers) == 1, f"every caller said the same, but they were understood as {callers}"
