"""/webhooks/twilio/voice: what Twilio asks while a call rings, when its socket ends, when it is over, when we failed.

Signed requests always get a document and never a problem: Twilio would read the problem out as an application error.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import FromPath

from turncall_control.calls import (
    admission,
    callbacks,
    closing,
    connecting,
    deciding,
    hangups,
    ledger,
    lookup,
    news,
    placement,
    resume,
    unrecorded,
)
from turncall_control.calls.callbacks import Callback
from turncall_control.calls.closing import Dialled
from turncall_control.calls.lookup import Unrouted
from turncall_control.calls.plans import REDIRECTED, resume_url
from turncall_control.calls.ringing import Admitted, Ringing
from turncall_control.calls.state import CARRIER_ENDS
from turncall_control.carriers import twilio, twiml
from turncall_control.db import failures
from turncall_control.dials import answering
from turncall_control.ingress.signed import OPT, Asked, asked_by, number_in
from turncall_control.ingress.texts import take_text, take_text_status
from turncall_control.ingress.whatsapp import take_batch, verify_webhook
from turncall_control.plane import Plane, Slice
from turncall_proto import ids
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.ids import CallId
from turncall_runtime import logs

OUT_OF_ORDER: Final = "We are sorry, your call cannot be connected at the moment. Please call again later."
ANNOUNCE_WITHIN_S: Final = 0.1
"""The carrier's answer waits for the call-start for this long; mostly it takes a millisecond."""
MAX_PARTY_LENGTH: Final = 64
"""The contract's limit for a caller's or a called number; SIP addresses may be longer."""

log = logs.logger(__name__)


@post("/webhooks/twilio/voice/inbound", status_code=200, opt=OPT, include_in_schema=False)
async def answer_inbound(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """Twilio asks what to do with a call that rings."""
    asked = await asked_by(request, plane)
    return await _document(plane, _answer(plane, asked, _since_s(request)))


@post("/webhooks/twilio/voice/resume/{call_id:str}/{epoch:int}", status_code=200, opt=OPT, include_in_schema=False)
async def answer_resume(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], call_id: FromPath[str], epoch: FromPath[int]
) -> Response[str]:
    """Twilio asks what comes next: the media socket of an epoch has ended."""
    asked = await asked_by(request, plane)
    is_redirected = REDIRECTED in request.query_params
    return await _document(plane, _continue(plane, asked, call_id, epoch, _since_s(request), is_redirected))


@post("/webhooks/twilio/voice/outbound/{call_id:str}", status_code=200, opt=OPT, include_in_schema=False)
async def answer_outbound(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], call_id: FromPath[str]
) -> Response[str]:
    """Somebody whom we called has picked up."""
    asked = await asked_by(request, plane)
    return await _document(plane, _connect(plane, asked, call_id, _since_s(request)))


@post("/webhooks/twilio/voice/forwarded/{call_id:str}", status_code=200, opt=OPT, include_in_schema=False)
async def answer_forwarded(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], call_id: FromPath[str]
) -> Response[str]:
    """Twilio asks what comes next: the connection to a fallback phone was made and is over, or was not made."""
    asked = await asked_by(request, plane)
    return await _document(plane, _after_forward(plane, asked, call_id))


@post(
    [
        f"/webhooks/twilio/voice/{step}/{{transfer_id:str}}"
        for step in ("transfer", "transferred", "operator", "accept", "operator-status", "conference")
    ],
    status_code=200,
    opt=OPT,
    include_in_schema=False,
)
async def answer_transfer(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], transfer_id: FromPath[str]
) -> Response[str]:
    """Twilio asks, or tells, what concerns a caller who is being connected to a person, or that person."""
    asked = await asked_by(request, plane)
    return await _document(plane, _transfer(plane, asked, request.scope["path"].split("/")[4], transfer_id))


@post("/webhooks/twilio/voice/fallback", status_code=200, opt=OPT, include_in_schema=False)
async def answer_fallback(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """Twilio could not reach us, or could not use our answer."""
    asked = await asked_by(request, plane)
    log.error("twilio.fallback", error_code=asked.form.get("ErrorCode"), provider_call_id=asked.form.get("CallSid"))
    return await _document(plane, _give_up(plane, asked))


@post("/webhooks/twilio/voice/status", status_code=200, opt=OPT, include_in_schema=False)
async def take_status(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """Twilio says how a call stands; after a failure of ours it says so again, a few times within 15 s."""
    return await _noted(request, plane, None)


@post("/webhooks/twilio/voice/status/{call_id:str}", status_code=200, opt=OPT, include_in_schema=False)
async def take_outbound_status(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], call_id: FromPath[str]
) -> Response[str]:
    """Twilio says how a call of ours stands."""
    return await _noted(request, plane, call_id)


async def _noted(request: Request[Any, Any, Any], plane: Plane, call_id: str | None) -> Response[str]:
    asked = await asked_by(request, plane)
    try:
        if not await callbacks.take(plane, _callback(asked, call_id)):
            log.info("twilio.status_ignored", provider_call_id=asked.form.get("CallSid"))
    except Exception as error:  # a request boundary: the sender reads nothing but the status
        log.error("twilio.status_lost", provider_call_id=asked.form.get("CallSid"), exc_info=error)
        return Response("", status_code=503, media_type="text/xml")
    return Response("", status_code=204)


async def _answer(plane: Plane, asked: Asked, since_s: float | None) -> Admitted:
    ringing = Ringing(
        provider=twilio.PROVIDER,
        proof=asked.proof,
        provider_call_id=asked.form["CallSid"],
        from_number=asked.form.get("From", "")[:MAX_PARTY_LENGTH],
        to_number=asked.form.get("To", "")[:MAX_PARTY_LENGTH],
    )
    told = plane.told.recall(ringing.call_id)
    if told is not None:
        # Postgres may be back, and the call's row, which knows no answer, may be there or still on its way.
        return Admitted(answer=told, plan=None)
    try:
        async with plane.turns.setdefault(ringing.call_id, asyncio.Lock()):
            return await _decided(plane, ringing)
    except Unrouted as reason:
        log.warning("call.unrouted", provider_call_id=ringing.provider_call_id, reason=str(reason))
        return Admitted(answer=twiml.say_and_hang_up(closing.NOT_IN_SERVICE), plan=None)
    except failures.FAILURES as error:
        if not failures.is_away(error):
            raise
        return await unrecorded.admit(plane, twiml, ringing, since_s)


async def _decided(plane: Plane, ringing: Ringing) -> Admitted:
    """Who answers is decided once: a call that has a row has its answer, or an agent that it waits for."""
    found = await lookup.find(plane, ringing)
    is_open = found.number.settings.channels.voice and found.call is None
    routed = await deciding.decide(plane, found, ringing) if is_open else None
    return await admission.admit(plane, twiml, ringing, found, routed)


async def _continue(
    plane: Plane, asked: Asked, call_id: str, epoch: int, since_s: float | None, is_redirected: bool
) -> Admitted:
    ids.parsed(ids.CALL, call_id)
    if asked.form.get("CallStatus") in CARRIER_ENDS:
        await callbacks.take(plane, _callback(asked))
        return Admitted(answer=twiml.hang_up(), plan=None)
    url = resume_url(plane, twilio.PROVIDER, CallId(call_id), epoch)
    try:
        admitted = await resume.advance(plane, twiml, asked.proof, CallId(call_id), epoch, is_redirected=is_redirected)
    except failures.FAILURES as error:
        held = unrecorded.hold(plane, twiml, url, since_s) if failures.is_away(error) else None
        if held is None:
            raise
        known = plane.routing.recall(twilio.PROVIDER, asked.form.get("To", ""))
        if known is not None and await resume.is_over(plane, known.project_id, CallId(call_id), epoch):
            return Admitted(answer=twiml.hang_up(), plan=None)
        log.warning("call.held", call_id=call_id, epoch=epoch, reason="Postgres is away")
        return held
    if admitted is None and since_s is not None:
        # Postgres is back, and the facts of a call that was answered without it are still on their way.
        admitted = unrecorded.hold(plane, twiml, url, since_s)
    return admitted or Admitted(answer=twiml.hang_up(), plan=None)


async def _connect(plane: Plane, asked: Asked, call_id: str, since_s: float | None) -> Admitted:
    ids.parsed(ids.CALL, call_id)
    if asked.form.get("CallStatus") in CARRIER_ENDS:
        await callbacks.take(plane, _callback(asked, call_id))
        return Admitted(answer=twiml.hang_up(), plan=None)
    answered_by = asked.form.get("AnsweredBy", "")[:MAX_PARTY_LENGTH]
    try:
        admitted = await answering.answer(
            plane, twiml, asked.proof, CallId(call_id), asked.form["CallSid"], answered_by
        )
    except failures.FAILURES as error:
        url = f"{plane.config.public_url}/webhooks/{twilio.PROVIDER}/voice/outbound/{call_id}"
        admitted = unrecorded.hold(plane, twiml, url, since_s) if failures.is_away(error) else None
        if admitted is None:
            raise
    return admitted or Admitted(answer=twiml.hang_up(), plan=None)


async def _after_forward(plane: Plane, asked: Asked, call_id: str) -> Admitted:
    ids.parsed(ids.CALL, call_id)
    outcome = asked.form.get("DialCallStatus", "")
    dialled = Dialled(
        outcome=outcome,
        is_answered=outcome in ("completed", "answered"),
        is_over=asked.form.get("CallStatus") in CARRIER_ENDS,
        duration_s=number_in(asked.form.get("DialCallDuration")),
    )
    admitted = await closing.after_forward(plane, twiml, asked.proof, CallId(call_id), dialled)
    return admitted or Admitted(answer=twiml.hang_up(), plan=None)


async def _transfer(plane: Plane, asked: Asked, step: str, transfer: str) -> Admitted:
    transfer_id = UUID(hex=transfer)
    found = await connecting.found(plane, asked.proof, transfer_id)
    if found is None:
        return Admitted(answer=twiml.hang_up(), plan=None)
    call_id, epoch = found
    form, provider, leg = asked.form, twilio.PROVIDER, asked.form.get("CallSid", "")
    answer: str | None = twiml.hang_up()
    match step:
        case "operator":
            answered_by = form.get("AnsweredBy", "")
            answer = await connecting.picked_up(plane, twiml, provider, transfer_id, leg, answered_by)
        case "accept":
            answer = await connecting.key_pressed(plane, twiml, provider, transfer_id, leg, form.get("Digits", ""))
        case "operator-status":
            sip_code = number_in(form.get("SipResponseCode"))
            await connecting.leg_said(plane, transfer_id, leg, form.get("CallStatus", ""), sip_code)
        case "conference":
            number = f"{form.get('ConferenceSid', '')}.{form.get('SequenceNumber', '')}"[:MAX_PARTY_LENGTH]
            await connecting.room_said(plane, transfer_id, form.get("StatusCallbackEvent", ""), leg, number)
        case "transferred" if form.get("CallStatus") in CARRIER_ENDS:
            await callbacks.take(plane, _callback(asked))
            await connecting.caller_gone(plane, transfer_id)
        case "transferred" if await connecting.connection_ended(plane, transfer_id, form.get("DialCallStatus", "")):
            pass
        case _:
            answer = await connecting.document_for_caller(plane, twiml, provider, transfer_id)
    if answer is None:
        return await _continue(plane, asked, call_id, epoch, None, is_redirected=True)
    return Admitted(answer=answer, plan=None)


def _since_s(request: Request[Any, Any, Any]) -> float | None:
    """Since when the caller has waited, in unix seconds, as an earlier answer of ours had the carrier tell us."""
    return number_in(request.query_params.get(unrecorded.SINCE), max_digits=12)


async def _give_up(plane: Plane, asked: Asked) -> Admitted:
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = await ledger.lock_carriers(connection, twilio.PROVIDER, asked.proof.account, asked.form["CallSid"])
        is_proven = call is not None and asked.proof.covers(call.project_id, call.account)
        appended = (
            call
            and is_proven
            and await hangups.intend(
                connection, call, EndedReason.TELEPHONY_FAILED, CallState.FAILED, due_in_s=hangups.LOOK_AFTER_S
            )
        )
    if appended:
        await news.publish(plane.bus, appended)
    return Admitted(answer=twiml.say_and_hang_up(OUT_OF_ORDER), plan=None)


async def _document(plane: Plane, deciding: Awaitable[Admitted]) -> Response[str]:
    """The decided document, or a closing sentence when deciding failed."""
    try:
        admitted = await deciding
    except Exception as error:  # a request boundary: the sender understands documents alone
        log.error("twilio.unanswerable", exc_info=error)
        admitted = Admitted(answer=twiml.say_and_hang_up(OUT_OF_ORDER), plan=None)
    background = await _announcing(plane, admitted.plan) if admitted.plan else None
    return Response(admitted.answer, media_type="text/xml", background=background)


async def _announcing(plane: Plane, plan: CallStart) -> BackgroundTask | None:
    """Publishes the call-start; what it takes beyond a moment goes on after the answer was sent."""
    announcing = asyncio.create_task(placement.announce(plane.bus, plan))
    done, _ = await asyncio.wait({announcing}, timeout=ANNOUNCE_WITHIN_S)
    return None if done else BackgroundTask(asyncio.wait, {announcing})


def _callback(asked: Asked, call_id: str | None = None) -> Callback:
    """The form as a statement; ``call_id`` stood in the address that a call of ours was given."""
    if call_id is not None:
        ids.parsed(ids.CALL, call_id)
    return Callback(
        call_id=None if call_id is None else CallId(call_id),
        provider=twilio.PROVIDER,
        proof=asked.proof,
        provider_call_id=asked.form.get("CallSid", ""),
        our_number=asked.form.get("To" if call_id is None else "From", "")[:MAX_PARTY_LENGTH],
        status=asked.form.get("CallStatus", ""),
        sequence_number=number_in(asked.form.get("SequenceNumber")),
        duration_s=number_in(asked.form.get("CallDuration")),
        sip_code=number_in(asked.form.get("SipResponseCode")),
    )


INGRESS: Final = Slice(
    name="ingress",
    routes=(
        answer_inbound,
        answer_outbound,
        answer_resume,
        answer_forwarded,
        answer_transfer,
        answer_fallback,
        take_status,
        take_outbound_status,
        take_text,
        take_text_status,
        verify_webhook,
        take_batch,
    ),
)
