"""Control's own facts that could not be stored at once and come back from the stream; the rows they make."""

from collections.abc import Sequence
from hashlib import sha256

from msgspec.structs import replace
from psycopg.types.json import Jsonb

from turncall_control.calls import erasing, ledger
from turncall_control.calls.facts import UNNUMBERED, Fact, own
from turncall_control.calls.ledger import Connection, Ledger
from turncall_proto import ids
from turncall_proto.events import CallInitializing, CallRinging, CarrierReported, EndIntended, ForwardBegun


async def adopted(connection: Connection, account: str, facts: Sequence[Fact]) -> list[Fact]:
    """The facts to be stored: workers' as they are, control's own without their numbers, and only if they are new.

    Numbers of epoch 0 belong to whoever holds the call's lock, and another fact may have taken these meanwhile.
    `CallInitializing` makes the call's row, and states that it rings. ``account`` is the installation's at its carrier.
    """
    stored: list[Fact] = []
    for fact in facts:
        event = fact.event
        if isinstance(event, CallInitializing):
            if await _adopt(connection, account, event):
                ringing = CallRinging(
                    call_id=event.call_id, project_id=event.project_id, epoch=0, seq=UNNUMBERED, at=event.at
                )
                stored += [own(replace(event, seq=UNNUMBERED)), own(ringing)]
        elif isinstance(event, EndIntended | CarrierReported):
            call = (await ledger.lock(connection, [event.call_id])).get(event.call_id)
            if call is None:
                stored.append(fact)
            elif await _says_something(connection, call, event):
                stored.append(own(replace(event, seq=UNNUMBERED)))
        elif isinstance(event, ForwardBegun):
            stored += await _forwarded(connection, fact, event)
        else:
            stored.append(fact)
    return stored


async def _says_something(connection: Connection, call: Ledger, event: EndIntended | CarrierReported) -> bool:
    if isinstance(event, CarrierReported):
        return await is_news(connection, event)
    return not call.standing.end_intended


async def is_news(connection: Connection, fact: CarrierReported) -> bool:
    """Whether the carrier says this of a locked call for the first time; notes it. Numbers and moments do not count."""
    cursor = await connection.execute(
        "insert into carrier_callbacks (call_id, project_id, digest) values (%s, %s, %s) on conflict do nothing",
        (ids.parsed(ids.CALL, fact.call_id), ids.parsed(ids.PROJECT, fact.project_id), digest(fact)),
    )
    return cursor.rowcount == 1


def digest(fact: CarrierReported) -> bytes:
    """A hash of what the carrier said; a repeat has the same."""
    return sha256(repr((fact.status, fact.sequence_number, fact.duration_s, fact.sip_code)).encode()).digest()


async def _forwarded(connection: Connection, fact: Fact, event: ForwardBegun) -> list[Fact]:
    """The fact as it came while its call has no row; once after that."""
    if event.call_id not in await ledger.lock(connection, [event.call_id]):
        return [fact]
    is_new = await ledger.note_forward(connection, event.call_id, event.because)
    return [own(replace(event, seq=UNNUMBERED))] if is_new else []


async def _adopt(connection: Connection, installations: str, fact: CallInitializing) -> bool:
    """Whether the fact made its call's row: not if there is one or it was erased, nor when no account is known that
    the call can be in."""
    if await erasing.erased_among(connection, [fact.call_id]):
        return False
    cursor = await connection.execute(
        "select id, account from numbers where carrier = %s and e164 = %s and project_id = %s",
        (fact.provider, fact.to_number, ids.parsed(ids.PROJECT, fact.project_id)),
    )
    number, account = await cursor.fetchone() or (None, "")
    if not (account or installations):
        return False
    cursor = await connection.execute(
        "insert into calls (id, project_id, agent_id, version_id, variant, number_id, channel, direction, from_number,"
        " to_number, provider, account, provider_call_id, variables, metadata, status, is_counted, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'initiated', true, %s)"
        " on conflict do nothing",
        (
            ids.parsed(ids.CALL, fact.call_id),
            ids.parsed(ids.PROJECT, fact.project_id),
            fact.agent_id and ids.parsed(ids.AGENT, fact.agent_id),
            fact.version_id and ids.parsed(ids.VERSION, fact.version_id),
            fact.variant,
            number,
            fact.channel,
            fact.direction,
            fact.from_number,
            fact.to_number,
            fact.provider,
            account or installations,
            fact.provider_call_id,
            Jsonb(fact.variables),
            Jsonb(fact.metadata),
            fact.at,
        ),
    )
    return cursor.rowcount == 1
