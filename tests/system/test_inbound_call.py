"""Calls from ring to record, over the carrier's own wire."""

import asyncio

import httpx
import numpy as np
from msgspec.structs import replace
from twilio.request_validator import RequestValidator

from turncall.demo.record import every_fact, holes, read_record
from turncall_phone.caller import AnyStep, HangUp, Interrupt, Pause, WaitForAgent, WaitForHangUp
from turncall_phone.calls import Call
from turncall_phone.journal import WebhookSent
from turncall_proto.agent import AgentSpec, TurnTaking, VendorRef
from turncall_testkit.house import ACCOUNT, House, said

RATE_HZ = 8000
FRAME = RATE_HZ // 50
LONG_STORY = (
    "Before we begin, let me tell you about our practice. We opened our doors many years ago in a small street behind "
    "the station. Since then we have moved twice, and we have grown to a team of nine people who like what they do. "
    "We look after teeth of every age, and we take our time for everybody who comes to see us."
)


def loudness(pcm: bytes) -> np.ndarray:
    """Root mean square of each 20 ms of mono s16le at 8 kHz."""
    samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float64)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.sqrt((frames**2).mean(axis=1))


def heard_seconds(call: Call) -> float:
    """For how long the caller heard something."""
    return float((loudness(call.heard) > 100).sum()) / 50


async def test_barge_in_can_be_switched_off(house: House, agent: AgentSpec) -> None:
    """With barge_in false the agent finishes what it says, whatever the caller says meanwhile."""
    greeting = LONG_STORY[: LONG_STORY.index("Since")].strip()
    stubborn = replace(agent, first_message=greeting, turn_taking=TurnTaking(barge_in=False))
    _, number = await house.answering(stubborn, name="stubborn")
    script: list[AnyStep] = [Interrupt(say=said("hours"), after_ms=1500), WaitForAgent(silent_ms=1500), HangUp()]
    call = await house.dial(number, script)
    await call.ended(timeout_s=60)
    view = await house.record_of(call)
    first = (await house.api.transcript(view.id)).utterances[0]
    assert (first.text, first.is_interrupted) == (greeting, False)


async def test_caller_who_hangs_up_during_the_greeting_leaves_a_finished_call(house: House, agent: AgentSpec) -> None:
    """The call is completed by the customer, and the greeting is recorded as far as it was heard."""
    _, number = await house.answering(replace(agent, first_message=LONG_STORY), name="hung up on")
    call = await house.dial(number, [Pause(length_s=3.0), HangUp()])
    await call.ended(timeout_s=20)
    view = await house.record_of(call)
    assert (view.status, view.ended_reason) == ("completed", "customer_ended_call")
    record = await read_record(house.api, view.id)
    assert holes(record.facts) == []
    (greeting,) = record.utterances
    assert greeting.is_interrupted
    assert 0 < len(greeting.text.split()) < len(LONG_STORY.split()) / 2


async def test_recording_holds_what_each_side_heard(house: House, agent: AgentSpec) -> None:
    """Stereo: the caller's own words left, what the caller heard right, on one time line."""
    _, number = await house.answering(agent, name="recorded")
    call = await house.dial(number, [WaitForAgent(), said("hours"), WaitForAgent(), HangUp()])
    await call.ended(timeout_s=60)
    view = await house.record_of(call)
    wav = await house.api.recording(view.id)
    head = await house.api.recording(view.id, start=0, end=43)
    assert head == wav[:44]
    stereo = np.frombuffer(wav[44:], dtype=np.int16).reshape(-1, 2)
    for side, truth in ((0, call.said), (1, call.heard)):
        ours, theirs = loudness(stereo[:, side].tobytes()), loudness(truth)
        sounding = float((ours > 100).sum()), float((theirs > 100).sum())
        assert sounding[1] > 50, "the truth itself is silent"
        assert abs(sounding[0] - sounding[1]) < 0.15 * sounding[1] + 10, f"side {side}: {sounding}"


async def test_recording_can_be_switched_off(house: House, agent: AgentSpec) -> None:
    """With recording off there is nothing to download."""
    _, number = await house.answering(replace(agent, recording="off"), name="unrecorded")
    call = await house.dial(number, [WaitForAgent(), HangUp()])
    await call.ended(timeout_s=30)
    view = await house.record_of(call)
    facts = await every_fact(house.api, view.id)
    assert "recording.ready" not in {fact.type for fact in facts}


async def test_call_ends_when_it_lasts_too_long(house: House, agent: AgentSpec) -> None:
    """max_duration_s ends the call and is given as the reason."""
    _, number = await house.answering(replace(agent, max_duration_s=10), name="brief")
    call = await house.dial(number, [WaitForHangUp(timeout_s=30)])
    await call.ended(timeout_s=40)
    view = await house.record_of(call)
    assert (view.status, view.ended_reason) == ("completed", "max_duration_reached")
    assert view.duration_ms is not None
    assert 9_000 < view.duration_ms < 13_000


async def test_api_ends_a_live_call(house: House, agent: AgentSpec) -> None:
    """The worker that owns the call confirms, the line is closed, and the reason is the API."""
    _, number = await house.answering(replace(agent, first_message=LONG_STORY), name="ended by request")
    call = await house.dial(number, [WaitForHangUp(timeout_s=30)])
    await call.answered(timeout_s=10)
    await asyncio.sleep(2)
    live = next(
        view for view in (await house.api.calls(status="in_progress")).items if view.provider_call_id == call.sid
    )
    taken = await house.api.end_call(live.id)
    assert taken.taken_by == "worker"
    await call.ended(timeout_s=10)
    view = await house.record_of(call)
    assert (view.status, view.ended_reason) == ("completed", "api_ended_call")


async def test_vendor_that_errors_leaves_a_finished_call(house: House, agent: AgentSpec) -> None:
    """A model server that nobody runs: the caller is not left in silence, and the call says vendor_error."""
    pipeline = replace(
        agent.pipeline,
        stt=VendorRef(vendor="local", options={"phrases": ["what are your opening hours"]}),
        llm=VendorRef(vendor="openai", options={"base_url": "http://127.0.0.1:9009/v1", "model": "absent"}),
    )
    _, number = await house.answering(replace(agent, pipeline=pipeline), name="broken model")
    call = await house.dial(number, [WaitForAgent(), said("hours"), WaitForHangUp(timeout_s=40)])
    await call.ended(timeout_s=60)
    view = await house.record_of(call)
    assert view.ended_reason == "vendor_error"
    facts = await every_fact(house.api, view.id)
    assert holes(facts) == []
    assert "vendor.failed" in {fact.type for fact in facts}
    assert heard_seconds(call) > 2


async def test_unknown_number_hears_a_notice(house: House, agent: AgentSpec) -> None:
    """A number that points here and is bound to nothing: a sentence, a hang-up, no row."""
    _, number = await house.answering(agent, name="neighbour")
    known = house.carrier.numbers.find(number.e164)
    assert known is not None
    stray = ACCOUNT.numbers[-1]
    house.carrier.configure(stray, voice_url=known.voice_url)
    call = await house.carrier.dial(to=stray, from_="+15550190001", script=[WaitForHangUp(timeout_s=20)])
    await call.ended(timeout_s=30)
    assert call.heard_texts
    assert heard_seconds(call) > 1
    assert call.sid not in {view.provider_call_id for view in (await house.api.calls(limit=200)).items}


async def test_webhooks_of_the_carrier_carry_signatures_that_the_official_library_accepts(
    house: House, agent: AgentSpec
) -> None:
    """What the emulator sends is what Twilio's own validator passes, and without it the door stays shut."""
    _, number = await house.answering(agent, name="signed")
    call = await house.dial(number, [WaitForAgent(), HangUp()])
    await call.ended(timeout_s=30)
    await call.settled(timeout_s=10)
    sent = [entry.fact for entry in call.journal if isinstance(entry.fact, WebhookSent)]
    assert len(sent) >= 2
    assert {fact.status for fact in sent} <= {200, 204}
    known = house.carrier.numbers.find(number.e164)
    assert known is not None
    form = {"CallSid": "CA" + "7" * 32, "AccountSid": ACCOUNT.sid, "From": "+15550190002", "To": number.e164}
    signature = RequestValidator(ACCOUNT.auth_token).compute_signature(known.voice_url, form)
    async with httpx.AsyncClient(trust_env=False) as client:
        forged = await client.post(known.voice_url, data=form, headers={"X-Twilio-Signature": signature[::-1]})
        unsigned = await client.post(known.voice_url, data=form)
        signed = await client.post(known.voice_url, data=form, headers={"X-Twilio-Signature": signature})
    assert (forged.status_code, unsigned.status_code, signed.status_code) == (403, 403, 200)
