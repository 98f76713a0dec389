"""Whole calls with an emulated carrier: its own signatures, its own order of requests, its media socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from turncall_phone import Account, Carrier, HangUp, Pause, WaitForHangUp
from turncall_phone.faults import LossFault
from turncall_proto import ids, stream_token, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.ids import CallId

ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=("+15550100009",))
NUMBER, PERSON = "+15550100009", "+15550177777"


class Media:
    """Where workers take media sockets: ``deeds`` holds what to do with the next ones, in turn."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.workers: list[Any] = []
        self.deeds: list[str] = []
        self.epochs: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One socket: opens its epoch, then does the next deed."""
        call_id, epoch = CallId(request.match_info["call"]), int(request.match_info["epoch"])
        worker, plan = next(
            (worker, offer.plan)
            for worker in (*self.workers, self.worker)
            for offer in worker.offers
            if (offer.plan.call_id, offer.plan.epoch, worker.answer) == (call_id, epoch, "accepted")
        )
        keys = stream_token.parse_keys("t1:a-secret-of-this-test")
        stream_token.check(keys, request.match_info["token"], call_id, epoch, 0)
        self.epochs.append(epoch)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(2):
            await socket.receive()
        await worker.opens(plan)
        deed = self.deeds.pop(0)
        if deed == "is lost for good":
            # Before the socket breaks: whatever it is offered from here on is refused, so the caller waits.
            worker.answer, worker.is_frozen = "full", True
        if deed.startswith("is lost"):
            assert request.transport is not None
            request.transport.abort()
            return socket
        if deed == "hangs up":
            await self._hang_up(worker, plan)
        async for _ in socket:
            pass
        reason = EndedReason.CUSTOMER_ENDED_CALL if deed == "listens" else EndedReason.ASSISTANT_ENDED_CALL
        await worker.closes(plan, CallState.COMPLETED, reason)
        return socket

    async def _hang_up(self, worker: Any, plan: Any) -> None:
        asked = HangUpAsked(
            act_id="1",
            call_id=plan.call_id,
            epoch=plan.epoch,
            reason=EndedReason.ASSISTANT_ENDED_CALL,
            deadline=worker.offers[-1].deadline.replace(year=2100),
        )
        answer = await worker.bus.ask(subjects.act("hang_up"), encode(asked), timeout_s=2)
        assert decode(answer, ActReply).is_taken


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any, open_worker: Any) -> AsyncIterator[tuple[Any, Carrier, Media]]:
    """A control plane whose number is bound at the emulated carrier, and a worker with a media socket."""
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        desk = await running.enter_async_context(open_desk(None, is_reachable=True, twilio_base_url=carrier.base_url))
        worker = await running.enter_async_context(open_worker(desk))
        media = Media(worker)
        app = web.Application()
        app.router.add_get("/media/{call}/{epoch}/{token}", media.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        running.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        worker.media_url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        await worker.beat()
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        bound = await desk.http.post("/v1/numbers", json={"number": NUMBER, "routing": routing}, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield desk, carrier, media


async def ended(desk: Any, call: Any) -> dict[str, Any]:
    """The call as the API shows it after its last word."""
    await call.settled(timeout_s=10)
    call_id = ids.inbound_call_id("twilio", ACCOUNT.sid, call.sid)
    await desk.comes(call_id, "call.ended", timeout_s=8)
    shown: dict[str, Any] = await desk.call(call_id)
    return shown


async def test_a_caller_hangs_up(house: tuple[Any, Carrier, Media]) -> None:
    """The carrier's own requests make a call of two seconds that its caller ended."""
    desk, carrier, media = house
    media.deeds = ["listens"]
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=0.5), HangUp()])
    shown = await ended(desk, call)
    assert (shown["status"], shown["ended_reason"], shown["missing_events"]) == ("completed", "customer_ended_call", 0)
    assert 0 <= shown["duration_ms"] < 3000


async def test_the_agent_hangs_up(house: tuple[Any, Carrier, Media]) -> None:
    """A worker's wish reaches the carrier, which closes the stream and the line."""
    desk, carrier, media = house
    media.deeds = ["hangs up"]
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=10)])
    shown = await ended(desk, call)
    assert (shown["status"], shown["ended_reason"]) == ("completed", "assistant_ended_call")


async def test_a_lost_worker_is_replaced_in_the_same_call(house: tuple[Any, Carrier, Media]) -> None:
    """When the socket breaks the carrier asks what comes next, and the call goes on in the next epoch."""
    desk, carrier, media = house
    media.deeds, media.epochs = ["is lost", "listens"], []
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=1.5), HangUp()])
    shown = await ended(desk, call)
    assert media.epochs == [1, 2]
    assert (shown["status"], shown["ended_reason"]) == ("completed", "customer_ended_call")


async def test_without_a_worker_the_caller_is_told(house: tuple[Any, Carrier, Media]) -> None:
    """A full house has the caller hold the line, says so in the end, and the call is over when it was spoken."""
    desk, carrier, media = house
    media.worker.answer = "full"
    try:
        call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=20)])
        await desk.comes_true(lambda: any("hold the line" in text for text in call.heard_texts), timeout_s=10)
        await desk.execute(
            "update calls set created_at = now() - interval '20 s' where provider_call_id = %s", call.sid
        )
        shown = await ended(desk, call)
    finally:
        media.worker.answer = "accepted"
    assert shown["ended_reason"] == "no_capacity"
    assert any("busy" in text for text in call.heard_texts)


async def test_a_caller_on_hold_reaches_the_agent(house: tuple[Any, Carrier, Media]) -> None:
    """A caller for whom nobody is free at first is joined to the agent once somebody is, in the same call."""
    desk, carrier, media = house
    media.deeds, media.epochs = ["hangs up"], []
    media.worker.answer = "full"
    try:
        call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=20)])
        await desk.comes_true(lambda: any("hold the line" in text for text in call.heard_texts), timeout_s=10)
    finally:
        media.worker.answer = "accepted"
    shown = await ended(desk, call)
    assert media.epochs == [1]
    assert (shown["status"], shown["ended_reason"]) == ("completed", "assistant_ended_call")


@pytest.mark.parametrize("effect", ["no_action", "unnoticed"])
async def test_a_carrier_that_does_not_ask_is_made_to(
    house: tuple[Any, Carrier, Media], open_worker: Any, effect: Any
) -> None:
    """A worker is lost and the carrier goes on in silence: control redirects the call, and another worker goes on."""
    desk, carrier, media = house
    async with open_worker(desk) as lost:
        lost.media_url, media.worker.answer = media.worker.media_url, "full"
        await lost.beat()
        media.deeds, media.epochs, media.workers = ["is lost", "hangs up"], [], [lost]
        carrier.faults.add(LossFault(effect=effect))
        try:
            call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=20)])
            await desk.comes_true(lambda: media.epochs == [1])
        finally:
            media.worker.answer = "accepted"
        lost.is_frozen = True
        shown = await ended(desk, call)
    assert media.epochs == [1, 2]
    assert (shown["status"], shown["ended_reason"]) == ("completed", "assistant_ended_call")
    assert media.worker.offers[-1].plan.resume.cause == "worker_silent"


async def test_the_only_worker_is_restarted(house: tuple[Any, Carrier, Media], open_worker: Any) -> None:
    """The one worker dies with a call, comes back as a new one two seconds later, and goes on with the same caller."""
    desk, carrier, media = house
    media.worker.answer = "full"
    try:
        async with open_worker(desk) as first:
            first.media_url = media.worker.media_url
            await first.beat()
            media.deeds, media.epochs, media.workers = ["is lost for good", "hangs up"], [], [first]
            call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=20)])
            await desk.comes_true(lambda: media.epochs == [1])
            await desk.comes_true(lambda: _is_held(desk, call), timeout_s=10)
            assert media.epochs == [1], "the caller waits"
            async with open_worker(desk) as second:
                second.media_url = media.worker.media_url
                media.workers = [second]
                await second.beat()
                shown = await ended(desk, call)
    finally:
        media.worker.answer = "accepted"
    assert media.epochs == [1, 2]
    assert (shown["status"], shown["ended_reason"]) == ("completed", "assistant_ended_call")
    assert second.offers[-1].plan.resume.from_worker == first.id


async def _is_held(desk: Any, call: Any) -> bool:
    """Whether the carrier asked what comes after the first epoch, and was told to ask again."""
    return bool(
        await desk.rows(
            "select from epochs e join calls c on c.id = e.call_id where c.provider_call_id = %s and e.epoch = 1"
            " and e.asked_at is not null and e.next_answer is null",
            call.sid,
        )
    )


async def test_the_bound_number_asks_us_for_everything(house: tuple[Any, Carrier, Media]) -> None:
    """Binding set the addresses of the voice, fallback and status requests."""
    desk, _, _ = house
    account = await desk.plane.carrier(desk.project_id, "twilio")
    (number,) = [number for number in await account.list_numbers() if number.e164 == NUMBER]
    base = desk.plane.config.public_url + "/webhooks/twilio/voice"
    assert (number.voice_url, number.voice_fallback_url) == (f"{base}/inbound", f"{base}/fallback")
    assert number.status_url.startswith(f"{base}/status")
