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
from turncall_proto.webrtc import SdpAnswered, SdpOffered, SdpReply, SdpWanted, SoundAccepted, SoundOver, Told
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


async def test_a_person_is_called_who_has_let_the_number_call(house: House, worker: Any, person: str) -> None:
    """Without the person's permission nothing is taken on; with it Meta is asked once, with a worker's offer of sound,
    also when its answer is lost; who picks up is brought to that worker, who declines or hears nothing is called so."""
    desk, meta = house
    order = {"to": f"+{person}", "from": NUMBER, "channel": "whatsapp", "agent_id": desk.agent_id}
    shut = await desk.http.post("/v1/calls/outbound", json=order, headers=desk.bearer, timeout=60)
    assert (shut.status_code, shut.json()["type"]) == (409, "urn:turncall:problem:no-call-permission")
    meta.calls.permit(PHONE, person)
    listening = {**order, "answering_machine_detection": "carrier"}
    refused = await desk.http.post("/v1/calls/outbound", json=listening, headers=desk.bearer, timeout=60)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "answering_machine_detection")
    meta.break_down(503, is_done=True)
    call_id, call = await _placed(desk, meta, order)
    assert call.reference == call_id
    await desk.becomes(call_id, timeout_s=PATIENCE_S, status="ringing", provider_call_id=call.id)
    meta.calls.pick_up(call, ANSWER)
    await told(worker, call_id, SdpWanted, SdpAnswered)
    assert worker.line.told[-1].sdp == ANSWER
    assert call.offer == worker.line.reply.sdp
    plan = planned(worker, call_id)
    await worker.opens(plan)
    shown = await desk.becomes(call_id, timeout_s=PATIENCE_S, status="in_progress")
    assert (shown["channel"], shown["direction"], shown["to_number"]) == ("whatsapp", "outbound", f"+{person}")
    meta.calls.hang_up(call)
    await told(worker, call_id, SdpWanted, SdpAnswered, SoundOver)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.becomes(call_id, timeout_s=PATIENCE_S, status="completed", ended_reason="customer_ended_call")
    await desk.comes(call_id, "call.ended", timeout_s=PATIENCE_S)
    assert [one.id for one in meta.calls.made.values() if one.person == person] == [call.id], "called once"


async def test_a_call_that_nobody_takes_says_why(house: House, worker: Any, person: str) -> None:
    """A person who declines, one who hears nothing, a call that is taken back while it rings, and a permission that is
    gone when it is dialled: each has its state and its reason, and no worker waits on."""
    desk, meta = house
    order = {"to": f"+{person}", "from": NUMBER, "channel": "whatsapp", "agent_id": desk.agent_id}
    meta.calls.permit(PHONE, person)
    declined_id, declined = await _placed(desk, meta, order)
    meta.calls.turn_away(declined)
    await desk.becomes(declined_id, timeout_s=PATIENCE_S, status="busy", ended_reason="rejected")
    await desk.comes_true(lambda: SoundOver in worker.line.kinds(declined_id), timeout_s=PATIENCE_S)
    meta.calls.accept_within_s = 0.2
    unheard_id, _ = await _placed(desk, meta, order)
    meta.calls.accept_within_s = 120.0
    await desk.becomes(unheard_id, timeout_s=PATIENCE_S, status="no_answer", ended_reason="customer_did_not_answer")
    back_id, back = await _placed(desk, meta, order)
    await desk.becomes(back_id, timeout_s=PATIENCE_S, status="ringing")
    ended = await desk.http.post(f"/v1/calls/{back_id}/end", json={}, headers=desk.bearer, timeout=60)
    assert ended.is_success, ended.text
    await back.reaches("over", timeout_s=PATIENCE_S)
    await desk.becomes(back_id, timeout_s=PATIENCE_S, status="failed", ended_reason="canceled")
    worker.answer = "full"
    made = await desk.http.post("/v1/calls/outbound", json=order, headers=desk.bearer, timeout=60)
    meta.calls.forbid(PHONE, person)
    worker.answer = "accepted"
    lapsed = made.json()["call"]["id"]
    await desk.becomes(lapsed, timeout_s=PATIENCE_S, status="failed", ended_reason="blocked")


async def _placed(desk: Any, meta: Meta, order: dict[str, Any]) -> tuple[CallId, MetaCall]:
    """A call that is asked for, and as Meta has it."""
    made = await desk.http.post("/v1/calls/outbound", json=order, headers=desk.bearer, timeout=60)
    assert made.status_code == 201, made.text
    call_id = CallId(made.json()["call"]["id"])
    found: list[MetaCall] = []

    def is_there() -> bool:
        found[:] = [one for one in meta.calls.made.values() if one.reference == call_id]
        return bool(found)

    await desk.comes_true(is_there, timeout_s=PATIENCE_S)
    return call_id, found[0]


async def _shown(desk: Any, call_id: CallId, **wanted: Any) -> dict[str, Any]:
    """The call, once it is there and as wanted."""

    async def is_there() -> bool:
        return bool((await desk.get(f"/v1/calls/{call_id}")).is_success)

    await desk.comes_true(is_there, timeout_s=PATIENCE_S)
    return dict(await desk.becomes(call_id, timeout_s=PATIENCE_S, **wanted))
