"""Voice calls over an emulated Meta as control decides about them: taken once, refused in good order, ended once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from turncall_phone.meta import App, BusinessPhone, Meta, MetaCall
from turncall_phone.meta.messages import change
from turncall_proto import ids, subjects
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.codec import decode_exchange, encode
from turncall_proto.ids import CallId
from turncall_proto.webrtc import SdpOffered, SdpReply, SoundAccepted, SoundOver, Told
from turncall_testkit.pen import writing

PHONE = BusinessPhone(id="4400", number="15550120001", token="a-token-of-the-graph")
SECRET = "an-app-secret-of-this-test"
NUMBER = f"+{PHONE.number}"
SENDER = {
    "kind": "whatsapp",
    "phone_number_id": PHONE.id,
    "access_token": PHONE.token,
    "app_secret": SECRET,
    "verify_token": "a-verify-token",
}
PATIENCE_S = 60
FINGERPRINT = "a=fingerprint:sha-256 00:11\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" + FINGERPRINT
ANSWER = OFFER.replace("o=- 1", "o=- 2")


class Line:
    """The workers' side of the exchange: keeps what it is asked, answers with ``reply``; ``is_deaf``: not at all."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.reply = SdpReply(outcome="done", sdp=ANSWER)

    async def answer(self, data: bytes) -> bytes:
        """Answers one message off the bus."""
        self.told.append(decode_exchange(data))
        return encode(self.reply)

    def kinds(self, call_id: CallId) -> list[type[Told]]:
        """What was said of a call, in order."""
        return [type(one) for one in self.told if one.call_id == call_id]


House = tuple[Any, Meta]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any) -> AsyncIterator[House]:
    """A control plane with a sender whose webhooks come to it."""
    async with AsyncExitStack() as running:
        meta = await running.enter_async_context(Meta(App(secret=SECRET), [PHONE]))
        desk = await running.enter_async_context(
            open_desk(None, is_reachable=True, twilio_base_url="http://127.0.0.1:9", whatsapp_base_url=meta.base_url)
        )
        meta.app = App(secret=SECRET, webhook_url=f"{desk.plane.config.public_url}/webhooks/whatsapp/{desk.project_id}")
        await running.enter_async_context(writing(desk.bus))
        made = await desk.http.put("/v1/credentials", json=SENDER, headers=await desk.admin(), timeout=60)
        assert made.status_code == 200, made.text
        meta.calls.accept_within_s = 120.0
        routing, patient = {"kind": "agent", "agent_id": desk.agent_id}, {"kind": "hold", "wait_s": 120}
        order = {"number": NUMBER, "carrier": "whatsapp", "routing": routing, "busy": patient}
        bound = await desk.http.post("/v1/numbers", json=order, headers=desk.bearer, timeout=60)
        assert bound.status_code == 201, bound.text
        desk.whatsapp_number_id = bound.json()["id"]
        yield desk, meta


@pytest_asyncio.fixture(loop_scope="session")
async def worker(house: House, open_worker: Any) -> AsyncIterator[Any]:
    """A worker that takes offers of sound, on ``worker.line``."""
    async with working(house[0], open_worker) as worker:
        yield worker


@asynccontextmanager
async def working(desk: Any, open_worker: Any) -> AsyncIterator[Any]:
    """One more such worker."""
    async with open_worker(desk) as worker:
        worker.line = Line()
        serving = await desk.bus.serve(subjects.sdp(worker.id), worker.line.answer)
        yield worker
        await serving.close()


@pytest.fixture
def person() -> str:
    """Somebody who has never called before, as Meta writes numbers."""
    return f"1555{uuid4().int % 10**7:07}"


def id_of(call: MetaCall) -> CallId:
    """The id that a person's call gets here."""
    return ids.inbound_call_id("whatsapp", PHONE.id, call.id)


def planned(worker: Any, call_id: CallId) -> CallStart:
    """What the worker was offered last of a call; on a busy machine it is offered more than once."""
    return next(offer.plan for offer in reversed(worker.offers) if offer.plan.call_id == call_id)


async def told(worker: Any, call_id: CallId, *kinds: type[Told]) -> None:
    """Returns once the worker was told this of a call, and no more."""
    async with asyncio.timeout(PATIENCE_S):
        while worker.line.kinds(call_id) != list(kinds):  # noqa: ASYNC110 - facts of another task
            await asyncio.sleep(0.02)


async def test_a_call_is_taken_once_however_often_it_is_told(house: House, worker: Any, person: str) -> None:
    """Thrice-told, in one batch with a message and shapes that nobody knows, it is one call, accepted with the worker's
    answer both times; the worker may be heard after that, states what is said, and ends when the person hangs up."""
    desk, meta = house
    meta.repeats = 2
    call = meta.calls.rung(PHONE, person=person, offer=OFFER)
    letter = meta.letter(PHONE, person=person, text="I am calling you", message_id="wamid.beside")
    status = {"id": "wamid.unknown", "status": "delivered", "recipient_id": person}
    strange = change(PHONE, "calls", calls=[{"id": "wacid.other"}, "nonsense", {"event": "connect"}])
    try:
        meta.bring(letter, strange, meta.calls.connecting(call), change(PHONE, statuses=[status]))
        await call.reaches("taken", timeout_s=PATIENCE_S)
    finally:
        meta.repeats = 0
    call_id = id_of(call)
    await told(worker, call_id, SdpOffered, SoundAccepted)
    offered = worker.line.told[0]
    assert (offered.sdp, offered.peer, offered.epoch) == (OFFER, "whatsapp", 1)
    assert (call.acts, call.answer) == (["pre_accept", "accept"], ANSWER)
    await desk.comes_true(lambda: len(meta.inbox(person)) == 1, timeout_s=PATIENCE_S)
    plan = planned(worker, call_id)
    assert (plan.channel, plan.from_number, plan.to_number) == ("whatsapp", f"+{person}", NUMBER)
    await worker.opens(plan)
    shown = await desk.becomes(call_id, status="in_progress")
    assert (shown["channel"], shown["direction"], shown["provider_call_id"]) == ("whatsapp", "inbound", call.id)
    meta.repeats = 1
    try:
        meta.calls.hang_up(call)
        await told(worker, call_id, SdpOffered, SoundAccepted, SoundOver)
    finally:
        meta.repeats = 0
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.becomes(call_id, status="completed", ended_reason="customer_ended_call")
    types = await desk.comes(call_id, "call.ended")
    assert [tag for tag in types if tag.startswith("c") and tag != "command.done"] == [
        "call.initializing",
        "call.ringing",
        "call.answered",
        "call.started",
        "carrier.reported",
        "call.ended",
    ]
    assert {code for code, _ in meta.posts} == {200}
    assert await desk.rows("select count(*) from calls where from_number = %s", f"+{person}") == [(1,)]


async def test_an_end_that_comes_before_its_beginning_is_a_missed_call(house: House, worker: Any, person: str) -> None:
    """The end of a call that nobody knows makes its row, and the beginning, told later, takes nothing up."""
    desk, meta = house
    call = meta.calls.rung(PHONE, person=person, offer=OFFER)
    call.state = "over"
    meta.bring(meta.calls.ended(call))
    shown = await _shown(desk, id_of(call), status="no_answer")
    assert (shown["channel"], shown["ended_reason"]) == ("whatsapp", "customer_did_not_answer")
    posts = len(meta.posts)
    meta.bring(meta.calls.connecting(call))
    await desk.comes_true(lambda: len(meta.posts) == posts + 1, timeout_s=PATIENCE_S)
    assert (call.acts, worker.offers) == ([], [])
    await desk.comes(id_of(call), "call.ended")


async def test_who_cannot_be_served_is_refused(house: House, worker: Any, person: str) -> None:
    """Without a free worker, a busy policy of rejection and a limit have the call refused as busy; one that waits is
    taken when a worker is free; sound of no use, and voice turned off, end it unanswered; Meta's own time limit too."""
    desk, meta = house
    path = f"/v1/numbers/{desk.whatsapp_number_id}"
    spoken = {"fallback": {"number": "+15550100009", "sentence": "Goodbye."}, "busy": {"kind": "forward"}}
    impossible = await desk.http.patch(path, json=spoken, headers=desk.bearer, timeout=60)
    assert [fault["field"] for fault in impossible.json()["errors"]] == ["fallback.number", "fallback.sentence", "busy"]
    worker.answer = "full"
    waiting = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await desk.comes_true(lambda: len(worker.offers) > 2, timeout_s=PATIENCE_S)
    assert (await desk.call(id_of(waiting)))["status"] == "ringing"
    worker.answer = "accepted"
    await waiting.reaches("taken", timeout_s=PATIENCE_S)
    meta.calls.hang_up(waiting)
    worker.answer = "full"
    assert (
        await desk.http.patch(path, json={"busy": {"kind": "reject"}}, headers=desk.bearer, timeout=60)
    ).status_code == 200
    refused = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await refused.reaches("over", timeout_s=PATIENCE_S)
    await _shown(desk, id_of(refused), status="busy", ended_reason="no_capacity")
    worker.answer = "accepted"
    assert refused.acts == ["reject"]
    await desk.http.patch(path, json={"channels": {"voice": False}}, headers=desk.bearer, timeout=60)
    closed = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await _shown(desk, id_of(closed), status="no_answer", ended_reason="rejected")
    await desk.http.patch(path, json={"channels": {}, "busy": {"kind": "hold"}}, headers=desk.bearer, timeout=60)
    worker.line.reply = SdpReply(outcome="refused", detail="it holds no sound")
    mute = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await mute.reaches("over", timeout_s=PATIENCE_S)
    await _shown(desk, id_of(mute), status="no_answer", ended_reason="telephony_failed")
    worker.answer, meta.calls.accept_within_s = "full", 1.0
    late = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await late.reaches("over", timeout_s=PATIENCE_S)
    meta.calls.accept_within_s = 120.0
    await _shown(desk, id_of(late), status="no_answer", ended_reason="customer_did_not_answer")


async def test_a_call_is_ended_through_the_api_and_nothing_is_transferred(
    house: House, worker: Any, person: str
) -> None:
    """Control has Meta end the call, whose worker need not do it; Meta's word that it is over ends the record."""
    desk, meta = house
    call = meta.calls.ring(PHONE, person=person, offer=OFFER)
    await call.reaches("taken", timeout_s=PATIENCE_S)
    call_id = id_of(call)
    plan = planned(worker, call_id)
    await worker.opens(plan)
    await desk.becomes(call_id, status="in_progress")
    meta.break_down(503)  # it is asked again
    ended = await desk.http.post(f"/v1/calls/{call_id}/end", json={}, headers=desk.bearer, timeout=60)
    assert ended.is_success, ended.text
    await call.reaches("over", timeout_s=60)
    await told(worker, call_id, SdpOffered, SoundAccepted, SoundOver)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.becomes(call_id, timeout_s=PATIENCE_S, status="completed", ended_reason="api_ended_call")


async def test_another_worker_takes_a_call_that_rings_and_none_takes_one_that_was_taken(
    house: House, open_worker: Any, person: str
) -> None:
    """A worker that is gone before the call is taken is replaced; a call whose worker dies later has nobody who could
    go on with it at Meta: it is ended there, and says why."""
    desk, meta = house
    async with working(desk, open_worker) as first, working(desk, open_worker) as second:
        first.line.reply = second.line.reply = SdpReply(outcome="unknown")
        call = meta.calls.ring(PHONE, person=person, offer=OFFER)
        call_id = id_of(call)
        await desk.comes_true(lambda: first.line.told or second.line.told, timeout_s=PATIENCE_S)
        first.line.reply = second.line.reply = SdpReply(outcome="done", sdp=ANSWER)
        await call.reaches("taken", timeout_s=PATIENCE_S)
        both = (first, second)
        await desk.comes_true(lambda: any(SoundAccepted in one.line.kinds(call_id) for one in both), PATIENCE_S)
        serving = next(one for one in both if SoundAccepted in one.line.kinds(call_id))
        plan = planned(serving, call_id)
        assert plan.epoch == 2
        await serving.opens(plan)
        await desk.becomes(call_id, status="in_progress")
        serving.is_frozen = True
        await call.reaches("over", timeout_s=60)
        assert call.acts == ["pre_accept", "accept", "terminate"]
        await desk.becomes(call_id, timeout_s=60, ended_reason="worker_lost")
        await desk.comes(call_id, "call.ended", timeout_s=60)


async def _shown(desk: Any, call_id: CallId, **wanted: Any) -> dict[str, Any]:
    """The call, once it is there and as wanted."""

    async def is_there() -> bool:
        return bool((await desk.get(f"/v1/calls/{call_id}")).is_success)

    await desk.comes_true(is_there, timeout_s=PATIENCE_S)
    return dict(await desk.becomes(call_id, timeout_s=PATIENCE_S, **wanted))
