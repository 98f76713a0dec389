"""<Dial>: another phone is rung and joined to the caller, or the caller joins a conference."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import numpy as np

from turncall_phone.calls import CallPlan, CallStatus, EndOrder, Instruction, Subscription
from turncall_phone.conference import Conference, Participant
from turncall_phone.playout import RATE_HZ
from turncall_phone.room import Room
from turncall_phone.tones import tone
from turncall_phone.twiml.grammar import METHODS, Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb

MOST_S = 14400
_CALLBACKS = frozenset({"statusCallback", "statusCallbackEvent", "statusCallbackMethod"})
_WHETHER = frozenset({"true", "false"})
_PHONE = Grammar(attributes=_CALLBACKS, values={"statusCallbackMethod": METHODS})
_CONFERENCE = Grammar(
    attributes=frozenset({"startConferenceOnEnter", "endConferenceOnExit", "waitUrl", "waitMethod", "beep", "muted"})
    | _CALLBACKS,
    values={
        "startConferenceOnEnter": _WHETHER,
        "endConferenceOnExit": _WHETHER,
        "muted": _WHETHER,
        "waitMethod": METHODS,
        "statusCallbackMethod": METHODS,
    },
)
# What a conference plays to those who wait, without a waitUrl: a low tone that comes and goes, unlike any voice.
MUSIC_HZ = (262, 330)
_SILENCE = np.zeros(RATE_HZ // 2, dtype=np.int16)
_MUSIC = np.concatenate([tone(MUSIC_HZ, 1000, amplitude=1500.0), _SILENCE])
# What a caller hears while the other phone rings (North America).
RINGING_HZ = (440, 480)
_RINGING = np.concatenate([tone(RINGING_HZ, 2000, amplitude=1500.0), np.zeros(4 * RATE_HZ, dtype=np.int16)])

type Interpret = Callable[[Instruction, Leg], Awaitable[None]]
type Outcome = tuple[tuple[str, str], ...]


async def run(verb: Element, leg: Leg) -> Step:
    """Connect the caller, and ask `action` about it, or go on with the next verb when there is none."""
    url = verb.get("action")
    action = Instruction(url=leg.resolve(url), method=verb.get("method", "POST"), purpose="action") if url else None
    if not verb.children and not verb.text:
        leg.alert(12200, "<Dial> names nobody")
        return action or Flow.NEXT
    noun = verb.children[0] if verb.children else Element(name="Number", attributes={}, text=verb.text, children=())
    leg.call.running_action = action and msgspec.structs.replace(action, extra=(("DialCallStatus", "completed"),))
    outcome = await (_confer(noun, leg) if noun.name == "Conference" else _connect(noun, verb, leg))
    leg.call.running_action = None
    return msgspec.structs.replace(action, extra=outcome) if action else Flow.NEXT


async def _connect(noun: Element, verb: Element, leg: Leg) -> Outcome:
    child = leg.exchange.branch(
        leg.call, noun.text.strip(), verb.get("callerId") or leg.call.from_, _plan(noun, verb, leg)
    )
    room = Room(leg.exchange.ticker)
    seats = []
    ringing = asyncio.create_task(_repeated(_RINGING, leg))
    try:
        await child.answered(timeout_s=MOST_S)
        await _stopped(ringing, leg)
        if not child.is_over:
            seats = [room.seat(leg.call.line), room.seat(child.line)]
            await child.ended(timeout_s=MOST_S)
    finally:
        await _stopped(ringing, leg)
        for seat in seats:
            seat.leave()
        if not child.is_over:
            child.order(EndOrder(by="carrier", status=None if seats else CallStatus.CANCELED))
    return (
        ("DialCallSid", child.sid),
        ("DialCallStatus", child.status),
        ("DialCallDuration", str(child.duration_s)),
        ("DialBridged", "true" if seats else "false"),
    )


def _plan(noun: Element, verb: Element, leg: Leg) -> CallPlan:
    url = noun.get("statusCallback")
    events = frozenset(noun.get("statusCallbackEvent", "completed").split())
    method = noun.get("statusCallbackMethod", "POST")
    timeout = verb.get("timeout", "30")
    return CallPlan(
        instruction=Instruction(),
        subscription=Subscription(url=leg.resolve(url), method=method, events=events) if url else None,
        ring_timeout_s=float(timeout) if timeout.isdigit() else 30.0,
    )


async def _confer(noun: Element, leg: Leg) -> Outcome:
    conference = leg.exchange.conferences.named(leg.call.account, noun.text.strip())
    url = noun.get("statusCallback")
    participant = conference.enter(
        leg.call,
        starts=noun.get("startConferenceOnEnter", "true") == "true",
        ends=noun.get("endConferenceOnExit", "false") == "true",
        told=Subscription(
            url=leg.resolve(url),
            method=noun.get("statusCallbackMethod", "POST"),
            events=frozenset(noun.get("statusCallbackEvent", "").split()),
        )
        if url
        else None,
    )
    conference.mute(participant, is_muted=noun.get("muted") == "true")
    try:
        while not (conference.is_over or participant.is_kicked):
            await _take_part(conference, participant, noun, leg)
    finally:
        conference.leave(participant)
    return (("DialCallStatus", "answered"),)


async def _take_part(conference: Conference, participant: Participant, noun: Element, leg: Leg) -> None:
    """Hears the others, or what is played to who waits, until something changes for this participant."""

    def place() -> tuple[bool, ...]:
        has_left = conference.is_over or participant.is_kicked
        return has_left, conference.hears(participant), participant.is_muted, participant.is_held

    here = place()
    seat = conference.room.seat(leg.call.line) if conference.hears(participant) else None
    if seat is not None:
        seat.is_muted = participant.is_muted
    waiting = None if seat else asyncio.create_task(_repeated(_MUSIC, leg) if participant.is_held else _wait(noun, leg))
    try:
        await conference.until(lambda: place() != here)
    finally:
        if waiting is not None:
            await _stopped(waiting, leg)
        if seat is not None:
            seat.leave()


async def _wait(noun: Element, leg: Leg) -> None:
    """What is heard until the conference starts: the documents at `waitUrl` over and over, or the carrier's tone."""
    url = noun.get("waitUrl")
    if not url:
        await _repeated(_MUSIC, leg)
    while leg.interpret is not None:
        await leg.interpret(Instruction(url=leg.resolve(url), method=noun.get("waitMethod", "POST")), leg)


async def _repeated(sound: np.ndarray, leg: Leg) -> None:
    while True:
        await leg.call.line.play(sound)


async def _stopped(playing: asyncio.Task[None], leg: Leg) -> None:
    """Ends what was played meanwhile, in its middle."""
    if not playing.done():
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
        leg.call.line.ear.clear()


VERB = Verb(
    grammar=Grammar(
        attributes=frozenset({"action", "method", "timeout", "callerId", "answerOnBridge"}),
        values={"method": METHODS, "answerOnBridge": _WHETHER},
        children={"Number": _PHONE, "Sip": _PHONE, "Conference": _CONFERENCE},
    ),
    run=run,
)
