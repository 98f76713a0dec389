"""Whole calls with an emulated carrier: its own signatures, its own order of requests, its media socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from msgspec.structs import replace

from turncall_control.calls.strays import Strays
from turncall_control.carriers.base import NumberUrls
from turncall_phone import Account, Carrier, HangUp, Pause, WaitForHangUp
from turncall_phone.faults import LossFault
from turncall_proto import ids
from turncall_testkit.media_sockets import Media, taking_sockets
from turncall_testkit.vendors.serving import Stalls, serving

ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=("+15550100009",))
STREAM_KEYS = "t1:a-secret-of-this-test"
NUMBER, PERSON = "+15550100009", "+15550177777"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(open_desk: Any, open_worker: Any) -> AsyncIterator[tuple[Any, Carrier, Media]]:
    """A control plane whose number is bound at the emulated carrier, and a worker with a media socket."""
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        desk = await running.enter_async_context(open_desk(None, is_reachable=True, twilio_base_url=carrier.base_url))
        worker = await running.enter_async_context(open_worker(desk))
        media = await running.enter_async_context(taking_sockets(worker, STREAM_KEYS))
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        bound = await desk.http.post("/v1/numbers", json={"number": NUMBER, "routing": routing}, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield desk, carrier, media


async def ended(desk: Any, call: Any) -> dict[str, Any]:
    """The call as the API shows it after its last word."""
    await call.settled(timeout_s=20)
    call_id = ids.inbound_call_id("twilio", ACCOUNT.sid, call.sid)
    await desk.comes(call_id, "call.ended", timeout_s=20)
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
        await desk.comes_true(lambda: any("hold the line" in text for text in call.heard_texts), timeout_s=20)
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
        await desk.comes_true(lambda: any("hold the line" in text for text in call.heard_texts), timeout_s=20)
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
            await desk.comes_true(lambda: _is_held(desk, call), timeout_s=20)
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


@asynccontextmanager
async def answered_elsewhere(desk: Any) -> AsyncIterator[None]:
    """The number's calls are answered by a document of somebody else's: a long silence."""

    async def silence(_: web.Request) -> web.Response:
        return web.Response(text="<Response><Say>Hello.</Say><Pause length='60'/></Response>", content_type="text/xml")

    app = web.Application()
    app.router.add_post("/", silence)
    account = await desk.plane.carrier(desk.project_id, "twilio")
    number = await account.find_number(NUMBER)
    ours = NumberUrls(
        voice_url=number.voice_url, voice_fallback_url=number.voice_fallback_url, status_url=number.status_url
    )
    async with serving(app, Stalls()) as address:
        await account.configure_number(number.sid, replace(ours, voice_url=f"http://{address}/", status_url=""))
        try:
            yield
        finally:
            await account.configure_number(number.sid, ours)


async def test_a_live_call_that_no_row_knows_gets_one(house: tuple[Any, Carrier, Media]) -> None:
    """A caller whom the carrier holds on our number, and of whom nothing is stored, is given an agent; calls that are
    known, that have just begun, or that are no longer there are left alone."""
    desk, carrier, media = house
    media.deeds, media.epochs = ["hangs up"], []
    async with answered_elsewhere(desk):
        call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=20)])
        await call.answered(timeout_s=20)
    await desk.comes_true(lambda: desk.plane.workers.may_judge, timeout_s=20)
    await Strays(desk.plane).attend()
    assert not await desk.rows("select from calls where provider_call_id = %s", call.sid), "it may be on its way"
    strays = Strays(desk.plane, after=timedelta(seconds=-2))
    await strays.attend()
    await desk.comes_true(lambda: media.epochs == [1], timeout_s=20)
    await strays.attend()
    assert desk.plane.metrics.get_sample_value("turncall_calls_stray_total", {"outcome": "adopted"}) == 1
    shown = await ended(desk, call)
    assert (shown["status"], shown["ended_reason"]) == ("completed", "assistant_ended_call")
    assert media.epochs == [1]


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
