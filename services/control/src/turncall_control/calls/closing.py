"""What becomes of a caller whom no agent serves: a person on the number's fallback phone, a busy tone, a sentence."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from turncall_control.calls import hangups, ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Appended, Connection, Ledger
from turncall_control.calls.projector import record
from turncall_control.calls.ringing import Admitted
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import Answers
from turncall_control.plane import Plane
from turncall_control.routing import E164, Fallback, Reject, Settings
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import ForwardBegun, ForwardEnded
from turncall_proto.ids import CallId
from turncall_runtime import logs

NOT_IN_SERVICE: Final = "The number you have called is not in service. Goodbye."
ALL_BUSY: Final = "All lines are busy at the moment. Please call again in a few minutes."
CONNECTION_LOST: Final = "We are sorry, the connection was lost. Please call again."
CONNECTING: Final = "One moment please, we are connecting you."

RING_S: Final = 25
"""How long a fallback phone rings."""

log = logs.logger(__name__)

_SENTENCES: Final = {EndedReason.NO_CAPACITY: ALL_BUSY, EndedReason.WORKER_LOST: CONNECTION_LOST}


class Dialled(Struct, frozen=True, kw_only=True):
    """What the carrier says of a connection to a fallback phone. ``is_over``: the caller has hung up meanwhile."""

    outcome: str
    is_answered: bool
    is_over: bool
    duration_s: int | None


class _Parties(Struct, frozen=True, kw_only=True):
    """Who called what, and what that number's owner decided for callers whom nobody serves."""

    caller: str
    called: str
    settings: Settings | None
    because: str | None


async def reject(
    connection: Connection,
    plane: Plane,
    documents: Answers,
    call: Ledger,
    reason: EndedReason,
    why: str,
    *,
    is_busy: bool,
) -> tuple[Appended, Admitted]:
    """Refuses a locked call before it is answered; the carrier will call it busy, or unanswered, and so do we."""
    state = CallState.BUSY if is_busy else CallState.NO_ANSWER
    plane.counts.refused.labels(reason).inc()
    log.warning("call.rejected", call_id=call.call_id, reason=reason, why=why)
    intended = await hangups.intend(connection, call, reason, state, due_in_s=hangups.LOOK_AFTER_S, detail=why)
    return intended, Admitted(answer=documents.reject(is_busy=is_busy), plan=None)


async def turn_away(
    connection: Connection, plane: Plane, documents: Answers, call: Ledger, reason: EndedReason, why: str
) -> tuple[Appended, Admitted]:
    """What a locked call gets that no agent takes, or goes on with, because of ``reason``; ``why`` is for the log.

    A number that rejects when busy does so to callers whom nobody has answered yet. Otherwise its fallback phone is
    rung, and without one its last words are spoken. A carrier that does neither has the call refused.
    """
    if not documents.SPEAKS:
        is_busy = reason is EndedReason.NO_CAPACITY
        return await reject(connection, plane, documents, call, reason, why, is_busy=is_busy)
    parties = await _parties(connection, call.call_id)
    settings, is_new = parties.settings, call.standing.epoch == 0
    if settings and is_new and reason is EndedReason.NO_CAPACITY and isinstance(settings.busy, Reject):
        return await reject(connection, plane, documents, call, reason, why, is_busy=True)
    if settings and settings.fallback.number is not None:
        return await _forward(connection, plane, documents, call, parties, settings.fallback.number, reason)
    log.error("call.turned_away", call_id=call.call_id, reason=reason, why=why)
    plane.counts.refused.labels(reason).inc()
    refused = await hangups.intend(
        connection, call, reason, CallState.FAILED, due_in_s=hangups.LOOK_AFTER_S, detail=why
    )
    return refused, Admitted(answer=documents.say_and_hang_up(last_words(settings, reason)), plan=None)


def last_words(settings: Settings | None, reason: EndedReason) -> str:
    """What a caller hears before the line is closed: the number's own sentence, or ours."""
    fallback = settings.fallback if settings else Fallback()
    return fallback.sentence or _SENTENCES.get(reason, NOT_IN_SERVICE)


def forwarding(
    plane: Plane,
    documents: Answers,
    call_id: CallId,
    provider: str,
    caller: str,
    called: str,
    number: str,
    *,
    is_new: bool,
) -> str:
    """The document that connects a caller to a fallback phone; one who was being served is told so."""
    return documents.forward(
        sentence=None if is_new else CONNECTING,
        number=number,
        caller_id=caller if _is_e164(caller) else called,
        ring_s=RING_S,
        action_url=f"{plane.config.public_url}/webhooks/{provider}/voice/forwarded/{call_id}",
    )


async def _forward(
    connection: Connection,
    plane: Plane,
    documents: Answers,
    call: Ledger,
    parties: _Parties,
    number: str,
    because: EndedReason,
) -> tuple[Appended, Admitted]:
    await ledger.note_forward(connection, call.call_id, because)
    log.warning("call.forwarded", call_id=call.call_id, because=because)
    plane.counts.refused.labels(EndedReason.FORWARDED).inc()
    begun = ForwardBegun(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=datetime.now(UTC),
        because=because,
    )
    answer = forwarding(
        plane,
        documents,
        call.call_id,
        call.provider,
        parties.caller,
        parties.called,
        number,
        is_new=call.standing.epoch == 0,
    )
    return await record(connection, [own(begun)]), Admitted(answer=answer, plan=None)


async def after_forward(
    plane: Plane, documents: Answers, proof: Proof, call_id: CallId, dialled: Dialled
) -> Admitted | None:
    """What comes after the connection to a fallback phone: the end, or the last words when nobody answered there.

    A repeat gets the same answer and stores nothing. None for a call that is not known or was never forwarded,
    and for one of an account that the webhook is no proof for.
    """
    async with plane.database.pool.connection() as connection, connection.transaction():
        call = (await ledger.lock(connection, [call_id])).get(call_id)
        if call is not None and not proof.covers(call.project_id, call.account):
            log.error("forward.foreign_account", call_id=call_id)
            return None
        parties = await _parties(connection, call_id) if call else None
        if call is None or parties is None or parties.because is None:
            return None
        is_served = dialled.is_answered or dialled.is_over
        reason = EndedReason.FORWARDED if is_served else EndedReason(parties.because)
        appended = await _note_end(connection, call, dialled, reason)
    await news.publish(plane.bus, appended)
    words = None if is_served else last_words(parties.settings, reason)
    answer = documents.hang_up() if words is None else documents.say_and_hang_up(words)
    return Admitted(answer=answer, plan=None)


async def _note_end(connection: Connection, call: Ledger, dialled: Dialled, reason: EndedReason) -> Appended:
    """States the outcome once, and has the carrier asked if the line is still open a little later."""
    row = ids.parsed(ids.CALL, call.call_id)
    cursor = await connection.execute(
        "select exists (select from call_events where call_id = %s and type = 'forward.ended')", (row,)
    )
    found = await cursor.fetchone()
    if found and found[0]:
        return Appended(ledgers={call.call_id: call}, facts={})
    if not call.standing.is_final:
        due_in = timedelta(seconds=hangups.LOOK_AFTER_S)
        await connection.execute(
            "update calls set hang_up_due = coalesce(hang_up_due, now() + %s) where id = %s", (due_in, row)
        )
    ended = ForwardEnded(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=datetime.now(UTC),
        outcome=dialled.outcome,
        reason=reason,
        duration_s=dialled.duration_s,
    )
    return await record(connection, [own(ended)])


async def _parties(connection: Connection, call_id: CallId) -> _Parties:
    cursor = await connection.execute(
        "select c.from_number, c.to_number, case c.direction when 'inbound' then n.settings end, c.forwarded_because"
        " from calls c left join numbers n on n.id = c.number_id where c.id = %s",
        (ids.parsed(ids.CALL, call_id),),
    )
    caller, called, settings, because = await cursor.fetchone() or ("", "", None, None)
    return _Parties(
        caller=caller,
        called=called,
        settings=None if settings is None else msgspec.convert(settings, Settings),
        because=because,
    )


def _is_e164(party: str) -> bool:
    try:
        msgspec.convert(party, E164)
    except msgspec.ValidationError:
        return False
    return True
