"""What a contact wrote to a number of ours becomes a message of the contact's session, once.

The webhook puts it into the stream and is answered at once. Whoever takes it from there finds out who answers, which
may mean to ask the project's own server, and stores it; while Postgres is away it waits.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_bus.bus import BusError, Delivered
from turncall_control.callinit.contract import Arrival
from turncall_control.calls import deciding, lookup
from turncall_control.calls.lookup import Found, Unrouted
from turncall_control.calls.ringing import Ringing
from turncall_control.carriers.accounts import Proof
from turncall_control.carriers.base import CarrierError
from turncall_control.chat import news, repository
from turncall_control.chat.model import Author, MessageRow, SessionRow, SessionState
from turncall_control.chat.views import message_view, session_view
from turncall_control.db.engine import bare
from turncall_control.messaging import aloud, attachments
from turncall_control.plane import Plane
from turncall_control.routing import BoundNumber, Routed
from turncall_control.texts import optouts
from turncall_control.webhooks.sessions import CREATED, RECEIVED
from turncall_proto import ids, subjects
from turncall_proto.arrival import TextArrived
from turncall_proto.call import TextChannel
from turncall_proto.codec import decode, encode
from turncall_proto.ids import CallId, ProjectId, SessionId
from turncall_runtime import logs

LONGEST: Final = 8000
"""Characters of a message that are kept: more than any carrier brings."""
FOR_THE_CARRIER: Final = "The carrier answers this word itself"
OPTED_OUT: Final = "The contact wants no messages from this number"

log = logs.logger(__name__)


class Arriving(Ringing, frozen=True, kw_only=True):
    """A first message, as something that rings: the same routing decides about both."""

    written_on: TextChannel

    @property
    def may_be_repeated(self) -> bool:
        """The stream gives it to one process at a time, which may have died over it."""
        return False

    @property
    def session_id(self) -> SessionId:
        """The session that it begins: the same whenever it is tried again."""
        return SessionId(ids.written(ids.SESSION, ids.parsed(ids.CALL, self.call_id)))

    def arrival(self, number: BoundNumber) -> Arrival:
        """The message as the user's server is told of it."""
        return replace(super().arrival(number), call_id=CallId(self.session_id), channel=self.written_on)


class Kept(Struct, kw_only=True):
    """A message in its session, and the call in which its writer speaks at this moment."""

    session: SessionRow
    message: MessageRow
    on_call: CallId | None = None


async def bring(plane: Plane, arrived: TextArrived) -> None:
    """Has a message taken in, whatever becomes of this process. Raises what the database raises when the bus is away as
    well: the carrier is to bring it again."""
    try:
        await plane.bus.publish(
            subjects.ARRIVALS,
            encode(arrived),
            message_id=f"{arrived.provider}/{arrived.account}/{arrived.provider_message_id}",
        )
    except BusError as error:
        log.warning("text.arrives_directly", error=str(error))
        await take(plane, arrived)


async def taken(plane: Plane, message: Delivered) -> None:
    """One message out of the stream."""
    await take(plane, decode(message.data, TextArrived))


async def take(plane: Plane, arrived: TextArrived) -> None:
    """Stores a message and has it answered. A repeat changes nothing."""
    arriving = Arriving(
        provider=arrived.provider,
        proof=Proof(
            account=arrived.account, is_installations=arrived.is_installations, holders=frozenset(arrived.holders)
        ),
        provider_call_id=arrived.provider_message_id,
        from_number=arrived.from_number,
        to_number=arrived.to_number,
        written_on=arrived.channel,
    )
    try:
        found = await lookup.find(plane, arriving)
    except Unrouted as reason:
        log.warning("text.unrouted", provider_message_id=arrived.provider_message_id, reason=str(reason))
        return
    number = found.number
    if not getattr(number.settings.channels, arrived.channel):
        log.info("text.channel_off", number_id=number.number_id, channel=arrived.channel)
        return
    async with plane.contacts.setdefault((number.project_id, arrived.from_number), asyncio.Lock()):
        kept = await _taken_in(plane, found, arriving, arrived)
        is_told = kept is not None and kept.on_call is not None and await aloud.tell(plane, kept.message, kept.on_call)
    if kept is not None:
        await news.tell(plane.bus, number.project_id, kept.session.id)
        if arrived.channel == "whatsapp" and not kept.session.is_taken_over:
            await _show_read(plane, number.project_id, arrived, is_typing=not is_told)


async def _show_read(plane: Plane, project_id: ProjectId, arrived: TextArrived, *, is_typing: bool) -> None:
    """The writer sees that the message was read, and that an answer is being written; nothing depends on it."""
    try:
        sender = await plane.accounts.whatsapp(project_id, arrived.account)
        if sender is not None:
            await sender.mark_read(arrived.provider_message_id, is_typing=is_typing)
    except CarrierError as error:
        log.warning("whatsapp.not_marked", provider_message_id=arrived.provider_message_id, error=str(error))


async def _taken_in(plane: Plane, found: Found, arriving: Arriving, arrived: TextArrived) -> Kept | None:
    """The message in its session; None when nobody answers, and when it was in there already."""
    number, routed = found.number, None
    if await _session_of(plane, number, arriving) is None:
        routed = await deciding.decide(plane, found, arriving)
        if routed.published is None and routed.inline is None:
            log.warning("text.nobody_answers", number_id=number.number_id, reason=routed.why)
            return None
    return await _stored(plane, number, arriving, arrived, routed)


async def _session_of(plane: Plane, number: BoundNumber, arriving: Arriving) -> SessionId | None:
    async with plane.database.system() as session:
        row = await living(session, number, arriving.from_number)
        return None if row is None else row.id


async def living(session: AsyncSession, number: BoundNumber, contact: str) -> SessionRow | None:
    """The session that goes on when this contact writes to this number: the last one in which the number had a part."""
    found: SessionRow | None = await session.scalar(
        select(SessionRow)
        .where(
            SessionRow.project_id == number.project_id,
            SessionRow.contact == contact,
            SessionRow.state == SessionState.ACTIVE,
            SessionRow.expires_at > datetime.now(UTC),
            select(MessageRow.seq)
            .where(MessageRow.session_id == SessionRow.id, MessageRow.number_id == number.number_id)
            .exists(),
        )
        .order_by(SessionRow.expires_at.desc())
        .limit(1)
    )
    return found


async def one_at_a_time(session: AsyncSession, project_id: ProjectId, contact: str) -> None:
    """Until the end of the transaction nobody else begins a session of this contact, or writes into one."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:of, 0))"), {"of": f"{project_id} {contact}"}
    )


async def _stored(
    plane: Plane, number: BoundNumber, arriving: Arriving, arrived: TextArrived, routed: Routed | None
) -> Kept | None:
    """The message in its session; None when it was in there already."""
    async with plane.database.system() as session, session.begin():
        await one_at_a_time(session, number.project_id, arriving.from_number)
        if await _is_known(session, number.project_id, arrived.provider_message_id):
            return None
        found = await living(session, number, arriving.from_number)
        if found is not None:
            row = await repository.get(session, number.project_id, found.id, is_locked=True)
        else:
            row = await _session_with(session, number, arriving, routed or Routed(kind="agent"))
        row.channel, row.number_id = arrived.channel, number.number_id
        message = await repository.write(
            session,
            row,
            Author.CONTACT,
            attachments.told(arrived.text[:LONGEST], arrived.attached).replace("\x00", "\ufffd"),
            origin_id=arrived.provider_message_id,
            attachments=[msgspec.to_builtins(one) for one in arrived.attached],
        )
        await repository.notify(session, row, RECEIVED, message_view(message))
        message.failure = await _why_unanswered(session, number, arriving.from_number, arrived)
        kept = Kept(session=row, message=message)
        if not (message.failure or row.is_taken_over):
            kept.on_call = await aloud.call_of(await bare(session), row)
            if kept.on_call is None:
                await repository.order_turn(session, row)
    return kept


async def _is_known(session: AsyncSession, project_id: ProjectId, origin_id: str) -> bool:
    known = select(MessageRow.seq).where(MessageRow.project_id == project_id, MessageRow.origin_id == origin_id)
    return await session.scalar(known) is not None


async def _session_with(session: AsyncSession, number: BoundNumber, arriving: Arriving, routed: Routed) -> SessionRow:
    """The contact's session with the agent that was decided on: one that lives already, on another channel, or a new
    one. The agent's first message is for who is waiting for one: it is not sent to somebody who has begun to write."""
    if routed.published is not None:
        row = await repository.active(session, number.project_id, routed.published.agent_id, arriving.from_number)
        if row is not None:
            return row
    row = SessionRow(
        id=arriving.session_id,
        project_id=number.project_id,
        agent_id=routed.agent_id,
        version_id=routed.version_id,
        inline_agent=routed.inline,
        variant=routed.variant,
        channel=arriving.written_on,
        number_id=number.number_id,
        contact=arriving.from_number,
        variables=dict(routed.variables),
        metadata_=dict(routed.metadata),
        knowledge_context=routed.knowledge_context,
        expires_at=datetime.now(UTC) + repository.LASTS,
    )
    await repository.begin(session, row)
    await repository.notify(session, row, CREATED, session_view(row))
    return row


async def _why_unanswered(session: AsyncSession, number: BoundNumber, contact: str, arrived: TextArrived) -> str:
    """Why the agent is not to answer, if so: words by which people opt out and in are answered by the carrier."""
    if arrived.channel != "sms":
        return ""
    connection, key = await bare(session), ids.parsed(ids.NUMBER, number.number_id)
    is_out = await optouts.is_out(connection, key, contact)
    match optouts.wish(arrived.text, is_out=is_out):
        case "stop":
            await optouts.put_out(connection, ids.parsed(ids.PROJECT, number.project_id), key, contact)
        case "start":
            await optouts.let_in(connection, key, contact)
        case None:
            return OPTED_OUT if is_out else ""
    return FOR_THE_CARRIER
