"""From the stream to rows: once in effect, whatever the order and however often."""

import asyncio
import random
from typing import Any

import msgspec
import pytest

from turncall_bus.bus import Delivered
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.projector import NoSuchCall, Projector, record
from turncall_proto import subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import MissingFacts, SettlementAnswered, SettlementAsked, SpooledEpoch
from turncall_proto.events import CallRinging, CallStarted, DtmfReceived, EpochClosed, EpochOpened, TranscriptFinal
from turncall_proto.ids import CallId
from turncall_runtime.metrics import new_registry


def delivered(*facts: Any) -> list[Delivered]:
    """Messages as the stream brings them."""
    return [Delivered(subject="", stream_seq=1, delivery=1, data=encode(fact)) for fact in facts]


def conversation(worker: Any, plan: Any, length: int) -> list[Any]:
    """Facts of one epoch: opened, ``length`` utterances, closed by the caller."""
    facts = [worker.fact(EpochOpened, plan, worker=worker.id), worker.fact(CallStarted, plan, setup_ms=3)]
    facts += [
        worker.fact(TranscriptFinal, plan, speaker="caller", text=f"{n}", start_ms=n, end_ms=n, turn=n)
        for n in range(length)
    ]
    closed = {"state": CallState.COMPLETED, "reason": EndedReason.CUSTOMER_ENDED_CALL}
    return [*facts, worker.fact(EpochClosed, plan, **closed)]


async def test_redelivered_and_shuffled_facts_are_stored_once(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Two projectors that get the same facts in other orders, some twice, leave each fact once, numbered gap-free."""
    await desk.rings(sid)
    facts = conversation(worker, worker.offers[-1].plan, 40)
    projectors = [Projector(desk.plane.database.pool, desk.bus, new_registry("control", "test"), "") for _ in range(2)]
    dice = random.Random(7)

    async def deliver(projector: Projector) -> None:
        messages = delivered(*facts, *dice.sample(facts, 20))
        dice.shuffle(messages)
        while messages:
            size = dice.randint(1, 9)
            await projector.project(messages[:size])
            del messages[:size]

    await asyncio.gather(*(deliver(projector) for projector in projectors))
    rows = await desk.rows(
        "select epoch, seq, call_seq from call_events where call_id = %s order by call_seq", call_id.rpartition("_")[2]
    )
    assert [call_seq for _, _, call_seq in rows] == list(range(1, len(rows) + 1))
    assert sorted((epoch, seq) for epoch, seq, _ in rows if epoch == 1) == [(1, n) for n in range(1, 44)]
    shown = await desk.call(call_id)
    assert (shown["status"], shown["ended_reason"]) == ("completed", "customer_ended_call")
    assert shown["event_count"] == len(rows)


async def test_facts_of_a_call_without_a_row_hold_nobody_up(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A batch with a stranger in it stores everything else, and asks for redelivery."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    stranger = msgspec.structs.replace(plan, call_id=CallId("call_" + "f" * 32))
    projector = Projector(desk.plane.database.pool, desk.bus, new_registry("control", "test"), "")
    batch = delivered(
        worker.fact(EpochOpened, stranger, worker=worker.id), worker.fact(EpochOpened, plan, worker=worker.id)
    )
    with pytest.raises(NoSuchCall, match=stranger.call_id):
        await projector.project(batch)
    assert "epoch.opened" in await desk.types(call_id)


async def test_unknown_tags_are_kept_as_they_came(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A fact of a newer release is stored with all its fields, shown only on request, and holds nothing up."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    raw = msgspec.json.decode(encode(worker.fact(DtmfReceived, plan, digit="1")))
    raw |= {"type": "call.levitated", "height_m": 2.5}
    subject = subjects.call(desk.project_id, call_id, "event")
    await desk.bus.publish(subject, msgspec.json.encode(raw), message_id=f"{call_id}.levitated")
    await desk.comes(call_id, "call.levitated")
    public = (await desk.get(f"/v1/calls/{call_id}/events")).json()["items"]
    assert [event["type"] for event in public] == [
        "call.initializing",
        "call.ringing",
        "call.answered",
        "call.started",
    ]
    internal = (await desk.get(f"/v1/calls/{call_id}/events", params={"internal": True})).json()["items"]
    assert internal[-1]["data"] == raw


async def test_a_nul_in_speech_does_not_lose_the_fact(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """U+0000, which jsonb cannot hold, is replaced; a text that merely spells it is left alone."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    for n, text in enumerate(["a\0b", "a\\u0000b", "a\\\0b"]):
        said = worker.fact(TranscriptFinal, plan, speaker="caller", text=text, start_ms=n, end_ms=n, turn=n)
        await worker.publish(said)
    path = f"/v1/calls/{call_id}/transcript"

    async def texts() -> list[str]:
        return [utterance["text"] for utterance in (await desk.get(path)).json()["utterances"]]

    await desk.comes_true(lambda: _equals(texts(), ["a\ufffdb", "a\\u0000b", "a\\\ufffdb"]))


async def test_controls_own_facts_are_numbered_where_they_are_stored(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Facts of epoch 0 get their number under the call's lock, so that writers at once leave no gap."""
    await desk.rings(sid)
    ringing = CallRinging(
        call_id=call_id,
        project_id=desk.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=worker.offers[-1].deadline,
    )

    async def write() -> None:
        async with desk.plane.database.pool.connection() as connection, connection.transaction():
            await record(connection, [own(ringing), own(ringing)])

    await asyncio.gather(*(write() for _ in range(4)))
    rows = await desk.rows(
        "select seq from call_events where call_id = %s and epoch = 0 order by seq", call_id.rpartition("_")[2]
    )
    assert [seq for (seq,) in rows] == list(range(1, 11))


async def test_a_hole_is_asked_for_and_closed(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A lost fact keeps the call open; the worker is told its number, publishes it again, and may then delete."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    facts = conversation(worker, plan, 6)
    lost = facts.pop(4)
    await worker.publish(*facts)
    await desk.says(sid, "completed", CallDuration="3")
    await desk.comes(call_id, "epoch.closed")
    assert "call.ended" not in await desk.types(call_id)

    spooled = SpooledEpoch(call_id=call_id, epoch=1, last_seq=9)
    unknown = SpooledEpoch(call_id=CallId("call_" + "e" * 32), epoch=1, last_seq=2)
    missing = (MissingFacts(call_id=call_id, epoch=1, seqs=(lost.seq,)),)
    assert await _asked(desk, spooled, unknown) == SettlementAnswered(missing=missing)

    await worker.publish(lost)
    await desk.comes(call_id, "call.ended")
    assert (await desk.call(call_id))["missing_events"] == 0
    await desk.comes_true(lambda: _equals(_asked(desk, spooled), SettlementAnswered(settled=(spooled,))))


async def test_a_hole_that_stays_is_counted(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A minute after the end, what is still missing is given up, counted on the call and in its last word.

    What comes later all the same is missing no more.
    """
    await desk.rings(sid)
    facts = conversation(worker, worker.offers[-1].plan, 6)
    await worker.publish(*(fact for fact in facts if fact.seq not in (3, 5)))
    await desk.says(sid, "completed", CallDuration="3")
    await desk.comes(call_id, "epoch.closed")
    await _pretend_over_for(desk, call_id, 30)
    await asyncio.sleep(1.2)
    assert "call.ended" not in await desk.types(call_id)
    await _pretend_over_for(desk, call_id, 61)
    await desk.comes(call_id, "call.ended")
    shown = await desk.call(call_id)
    assert shown["missing_events"] == 2
    await worker.publish(*(fact for fact in facts if fact.seq == 3), suffix=".late")
    await desk.becomes(call_id, event_count=shown["event_count"] + 1, missing_events=1)
    assert (await desk.types(call_id)).count("call.ended") == 1


async def test_without_the_carriers_word_the_end_waits_five_seconds(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """A call that only its worker has ended is concluded after five seconds, with the worker's state and reason."""
    await desk.rings(sid)
    await worker.publish(*conversation(worker, worker.offers[-1].plan, 1))
    await desk.comes(call_id, "epoch.closed")
    await asyncio.sleep(1.2)
    assert "call.ended" not in await desk.types(call_id)
    await _pretend_over_for(desk, call_id, 5)
    types = await desk.comes(call_id, "call.ended")
    assert types.count("call.ended") == 1


async def test_a_worker_that_never_closes_does_not_hold_the_end(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """When a worker died with the call, the carrier's word is enough after five seconds."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    await desk.says(sid, "completed", CallDuration="3")
    await desk.comes(call_id, "call.started")
    assert "call.ended" not in await desk.types(call_id)
    await _pretend_over_for(desk, call_id, 5)
    await desk.comes(call_id, "call.ended")
    shown = await desk.call(call_id)
    assert (shown["status"], shown["ended_reason"]) == ("completed", "customer_ended_call")


async def _pretend_over_for(desk: Any, call_id: CallId, seconds: int) -> None:
    """Moves the moment of the first final word into the past."""
    await desk.execute(
        "update calls set over_at = now() - make_interval(secs => %s) where id = %s",
        seconds,
        call_id.rpartition("_")[2],
    )


async def _asked(desk: Any, *epochs: SpooledEpoch) -> SettlementAnswered:
    asked = encode(SettlementAsked(epochs=epochs))
    return decode(await desk.bus.ask(subjects.act("settlement"), asked, timeout_s=2), SettlementAnswered)


async def _equals(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)
