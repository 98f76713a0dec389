"""What subscribers hear of real calls, over both planes as processes and the emulated carrier."""

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from turncall.client.shapes import StoredFact
from turncall.demo.record import every_fact
from turncall.demo.run import UTTERANCES
from turncall_control.calls.state import Standing, fold
from turncall_control.webhooks.occurrences import OCCURRENCES
from turncall_phone.caller import AnyStep, Press, WaitForAgent
from turncall_proto.agent import AgentServer, AgentSpec
from turncall_proto.call import CallState
from turncall_proto.codec import decode_event
from turncall_proto.events import PUBLIC_TAGS
from turncall_testkit.house import House, conversation, readable
from turncall_testkit.receiver import receiving

ELSEWHERE = {
    "call.resumed",
    "call.handoff",
    "transfer.answered",
    "call.transferred",
    "transfer.failed",
    "voicemail.detected",
}
"""Events of calls that change hands, or that a machine answers, which this one does not."""


def states(facts: Sequence[StoredFact]) -> dict[int, CallState]:
    """Where the call stands after each fact, by its ``call_seq``."""
    standing, found = Standing(), {}
    for fact in facts:
        standing = fold(standing, decode_event(msgspec.json.encode(fact.data)))
        found[fact.call_seq] = standing.status
    return found


async def test_subscribers_of_a_phone_call_hear_exactly_what_the_table_says(house: House, agent: AgentSpec) -> None:
    """Of a real call each public fact arrives once per id, in order, on its channel and in its state; no partials."""
    async with receiving() as receiver, receiving() as server:
        made = await house.api.create_webhook(receiver.url)
        receiver.secrets.append(made.secret)
        # The house's own tests may be on the line: only this call's events are looked at.
        _, number = await house.answering(
            replace(readable(agent), server=AgentServer(call_end_url=server.url)), name="told of everything"
        )
        script: list[AnyStep] = [WaitForAgent(), Press(digits="5"), *conversation(*UTTERANCES)]
        call = await house.dial(number, script)
        await house.api.inject((await house.live(call)).id, "The caller has been here before.")
        await call.ended(timeout_s=120)
        view = await house.record_of(call)
        async with asyncio.timeout(60):
            while True:
                facts = await every_fact(house.api, view.id)
                public = [fact for fact in facts if fact.type in PUBLIC_TAGS]
                told = receiver.first_taken(view.id)
                is_whole = {"recording.ready", "call.ended", "analysis.completed"} <= {fact.type for fact in public}
                if is_whole and len(told) == len(public) and server.taken:
                    break
                await asyncio.sleep(0.2)
        await house.api.delete_webhook(made.webhook.id)
    assert [(request.type, request.data["call_seq"]) for request in told] == [
        (fact.type, fact.call_seq) for fact in public
    ]
    stands = states(facts)
    for request in told:
        occurrence = OCCURRENCES[request.type]
        assert view.channel in occurrence.channels
        assert stands[request.data["call_seq"]] in occurrence.states, request.type
    expected = {tag for tag, found in OCCURRENCES.items() if "phone" in found.channels} - ELSEWHERE
    assert {request.type for request in told} == expected
    ids_of = {request.data["call_seq"]: request.id for request in receiver.taken if request.data["call_id"] == view.id}
    assert len(set(ids_of.values())) == len(ids_of)
    assert len({request.id for request in server.taken}) == 1
    (analysis,) = (await house.api.analyses(view.id)).analyses
    assert analysis.findings is not None
    assert analysis.findings.summary == "An appointment was made."
    assert {used.vendor for used in analysis.used} == {"local"}
    said = (await house.api.transcript(view.id)).utterances
    assert [words["text"] for words in server.taken[0].data["transcript"]] == [words.text for words in said]
