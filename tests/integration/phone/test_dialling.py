"""<Dial> and <Gather>: phones that are rung for a caller, rooms where lines meet, keys that are asked for."""

from typing import Any

import numpy as np
import pytest

from turncall_phone import Answers, Busy, Carrier, HangUp, NeverAnswers, Pause, Press, Say, WaitForHangUp
from turncall_phone.caller import Declines
from turncall_phone.tones import tone
from turncall_phone.twiml.verbs.dial import MUSIC_HZ

from .conftest import ACCOUNT

NUMBER, PERSON, OPERATOR = ACCOUNT.numbers[0], "+15550177777", "+15550166666"
LOW, HIGH = 500, 900


def hum(hz: int, length_ms: int = 600) -> Say:
    """A caller whose voice is one tone."""
    return Say(pcm=tone((hz,), length_ms).tobytes())


def loudness(pcm: bytes, hz: int) -> float:
    """How much of a tone is in what was heard."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    seconds = np.arange(len(samples)) / 8000
    return float(abs(np.exp(2j * np.pi * hz * seconds) @ samples)) / 8000


def dialling(noun: str, customer: Any, **attributes: str) -> str:
    given = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<Response><Dial action="{customer.url("/after")}"{given}>{noun}</Dial></Response>'


@pytest.mark.parametrize("to", [OPERATOR, "sip:desk@example.com"])
async def test_two_phones_are_joined(carrier: Carrier, customer: Any, to: str) -> None:
    """Each hears the other and not itself; the leg reports its own progress, and `action` what became of it."""
    noun = "Sip" if to.startswith("sip") else "Number"
    callbacks = f'statusCallback="{customer.url("/leg")}" statusCallbackEvent="answered completed"'
    customer.on("/voice", dialling(f"<{noun} {callbacks}>{to}</{noun}>", customer, callerId=NUMBER))
    customer.on("/after", "<Response><Hangup/></Response>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    carrier.expect(to, Answers(script=(Pause(length_s=0.3), hum(HIGH), Pause(length_s=0.8), HangUp())))
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=1.0), hum(LOW), WaitForHangUp()])
    await call.settled(timeout_s=20)
    child = next(each for each in carrier.calls if each.parent_sid == call.sid)
    assert (child.direction, child.from_, child.to) == ("outbound-dial", NUMBER, to)
    for heard, others, own in ((call.heard, HIGH, LOW), (child.heard, LOW, HIGH)):
        assert loudness(heard, others) > 800
        assert loudness(heard, own) < 300
    (after,) = customer.requests("/after")
    assert (after["DialCallStatus"], after["DialBridged"], after["DialCallSid"]) == ("completed", "true", child.sid)
    assert int(after["DialCallDuration"]) in (1, 2, 3)
    legs = await customer.asked_for("/leg", times=2)
    assert {leg["CallStatus"] for leg in legs} == {"in-progress", "completed"}
    assert {leg["ParentCallSid"] for leg in legs} == {call.sid}


@pytest.mark.parametrize(("phone", "status"), [(Busy(), "busy"), (Declines(), "busy"), (NeverAnswers(), "no-answer")])
async def test_a_phone_that_is_not_answered_is_told(carrier: Carrier, customer: Any, phone: Any, status: str) -> None:
    """`action` learns why, and the call goes on with its answer."""
    customer.on("/voice", dialling(f"<Number>{OPERATOR}</Number>", customer, timeout="1"))
    customer.on("/after", "<Response><Say>Nobody is there.</Say></Response>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    carrier.expect(OPERATOR, phone)
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp()])
    await call.settled(timeout_s=20)
    (after,) = customer.requests("/after")
    assert (after["DialCallStatus"], after["DialBridged"]) == (status, "false")
    assert call.heard_texts == ("Nobody is there.",)


async def test_a_caller_who_hangs_up_takes_the_other_phone_along(carrier: Carrier, customer: Any) -> None:
    """The leg that rings is cancelled, and `action` is told with the final status."""
    customer.on("/voice", dialling(f"<Number>{OPERATOR}</Number>", customer))
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    carrier.expect(OPERATOR, NeverAnswers())
    call = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=0.4), HangUp()])
    await call.settled(timeout_s=20)
    child = next(each for each in carrier.calls if each.parent_sid == call.sid)
    await child.settled(timeout_s=20)
    assert child.status == "canceled"
    (after,) = customer.requests("/after")
    assert after["CallStatus"] == "completed"


async def test_a_conference_begins_and_ends_with_those_who_say_so(carrier: Carrier, customer: Any) -> None:
    """Who waits hears music, then both hear each other; when the one who ends it goes, the other's document goes on."""
    room = '<Conference startConferenceOnEnter="{0}" endConferenceOnExit="{0}">room</Conference>'
    customer.on("/voice", dialling(room.format("false"), customer), dialling(room.format("true"), customer))
    customer.on("/after", "<Response><Hangup/></Response>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    waiting = await carrier.dial(to=NUMBER, from_=PERSON, script=[Pause(length_s=2.6), hum(LOW), WaitForHangUp()])
    await waiting.answered(timeout_s=20)
    await waiting.line.wait_ms(1000)
    assert loudness(waiting.heard, MUSIC_HZ[0]) > 300
    script = [Pause(length_s=0.4), hum(HIGH), Pause(length_s=1.6), HangUp()]
    host = await carrier.dial(to=NUMBER, from_=OPERATOR, script=script)
    await waiting.settled(timeout_s=20)
    assert loudness(waiting.heard, HIGH) > 800
    assert loudness(host.heard, LOW) > 800
    assert loudness(host.heard, MUSIC_HZ[0]) < 100
    asked = [asked for asked in customer.requests("/after") if asked["CallSid"] == waiting.sid]
    assert [each["DialCallStatus"] for each in asked] == ["answered"]


async def test_keys_are_gathered_while_the_prompt_is_heard(carrier: Carrier, customer: Any) -> None:
    """One key is enough if one is wanted; without a key the document goes on."""
    gather = f'<Gather numDigits="1" timeout="1" action="{customer.url("/key")}"><Say>Press a key please</Say></Gather>'
    customer.on("/voice", f"<Response>{gather}<Say>Nothing came</Say></Response>")
    customer.on("/key", "<Response><Hangup/></Response>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    pressing = await carrier.dial(to=NUMBER, from_=PERSON, script=[Press(digits="7"), WaitForHangUp()])
    silent = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp()])
    await pressing.settled(timeout_s=20)
    await silent.settled(timeout_s=20)
    assert [asked["Digits"] for asked in customer.requests("/key")] == ["7"]
    assert silent.heard_texts == ("Press a key please", "Nothing came")


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning")
async def test_a_participant_is_held_muted_and_told_of(carrier: Carrier, customer: Any, official: Any) -> None:
    """By REST, with the vendor's client; who came first says what is told, numbered, signed and in full."""
    told = f'statusCallback="{customer.on("/told", (204, ""))}" statusCallbackEvent="start end join leave mute hold"'
    room = '<Conference startConferenceOnEnter="{0}" endConferenceOnExit="true" {1}>room</Conference>'
    customer.on("/voice", dialling(room.format("false", told), customer), dialling(room.format("true", ""), customer))
    customer.on("/after", "<Response><Hangup/></Response>")
    carrier.configure(NUMBER, voice_url=customer.url("/voice"))
    waiting = await carrier.dial(to=NUMBER, from_=PERSON, script=[WaitForHangUp(timeout_s=60)])
    await customer.asked_for("/told")
    host = await carrier.dial(to=NUMBER, from_=OPERATOR, script=[WaitForHangUp(timeout_s=60)])
    await customer.asked_for("/told", times=3)
    async with official(ACCOUNT, carrier) as client:
        (conference,) = await client.conferences.list_async(friendly_name="room", status="in-progress")
        there = client.conferences(conference.sid).participants
        assert {one.call_sid for one in await there.list_async()} == {waiting.sid, host.sid}
        held = await there(waiting.sid).update_async(hold=True)
        assert (held.hold, held.muted) == (True, False)
        before = loudness(waiting.heard, MUSIC_HZ[0])
        await waiting.line.wait_ms(1000)
        assert loudness(waiting.heard, MUSIC_HZ[0]) > before + 200
        await there(waiting.sid).update_async(hold=False)
        await there(host.sid).update_async(muted=True)
        host.say(np.frombuffer(hum(HIGH).pcm, dtype=np.int16))
        waiting.say(np.frombuffer(hum(LOW).pcm, dtype=np.int16))
        await host.line.wait_ms(1000)
        await there(host.sid).delete_async()
        await waiting.settled(timeout_s=20)
        assert [one.status for one in await client.conferences.list_async(friendly_name="room")] == ["completed"]
    assert loudness(waiting.heard, HIGH) < 100
    assert loudness(host.heard, LOW) > 800
    await customer.asked_for("/told", times=9)
    asked = sorted(customer.requests("/told"), key=lambda one: int(one["SequenceNumber"]))
    whose = {waiting.sid: "first", host.sid: "host"}
    assert [(one["StatusCallbackEvent"], whose.get(dict(one.params).get("CallSid", ""))) for one in asked] == [
        ("participant-join", "first"),
        ("participant-join", "host"),
        ("conference-start", None),
        ("participant-hold", "first"),
        ("participant-unhold", "first"),
        ("participant-mute", "host"),
        ("participant-leave", "host"),
        ("participant-leave", "first"),
        ("conference-end", None),
    ]
    assert [asked[at]["ReasonParticipantLeft"] for at in (6, 7)] == [
        "participant_updated_via_api",
        "moderator_ended_conference",
    ]
