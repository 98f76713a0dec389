"""Agents send the contact a link by SMS: from a call or in writing, to where the conversation goes on in writing.

The contact, the number and the session are those of the conversation; the agent's model chooses none of them.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.calls import links
from turncall_control.calls.model import CallRow
from turncall_control.chat import news, repository
from turncall_control.chat.model import Author, MessageRow, SessionRow, SessionState
from turncall_control.chat.views import message_view, session_view
from turncall_control.db.engine import bare
from turncall_control.messaging.arrivals import one_at_a_time
from turncall_control.numbers.model import NumberRow
from turncall_control.plane import Plane
from turncall_control.texts import optouts
from turncall_control.webhooks.sessions import CREATED, SENT
from turncall_proto import ids
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, LinkAsked
from turncall_proto.ids import CallId, NumberId, SessionId

OPENS_FOR: Final = timedelta(hours=24)


class Refused(Exception):
    """The link is not sent; the message is for the agent's model."""


class _Leg(Struct, frozen=True, kw_only=True):
    """Whose conversation with which agent it is, and over which number of ours."""

    session: SessionRow
    number_id: NumberId | None


class Links:
    """Answers workers whose agents want a link sent."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def answer(self, data: bytes) -> bytes:
        """Serves the act ``link``. A repeat is taken, and sends nothing more."""
        asked = decode(data, LinkAsked)
        if asked.deadline < datetime.now(UTC):
            return encode(ActReply(is_taken=False, detail="late"))
        try:
            session_id = await self._sent(asked)
        except Refused as refusal:
            return encode(ActReply(is_taken=False, detail=str(refusal)))
        await news.tell(self._plane.bus, asked.project_id, session_id)
        return encode(ActReply(is_taken=True))

    async def _sent(self, asked: LinkAsked) -> SessionId:
        plane = self._plane
        async with plane.database.system() as session, session.begin():
            leg = await _leg(session, asked)
            row = leg.session
            number = None if leg.number_id is None else await session.get(NumberRow, leg.number_id)
            if number is None or not row.contact.startswith("+") or not number.settings.channels.sms:
                raise Refused("the contact has no phone that an SMS could go to from here")
            if await optouts.is_out(await bare(session), ids.parsed(ids.NUMBER, number.id), row.contact):
                raise Refused("the contact wants no SMS from this number")
            known = select(MessageRow.seq).where(
                MessageRow.project_id == row.project_id, MessageRow.origin_id == asked.act_id
            )
            if await session.scalar(known) is None:
                message = await repository.answer(
                    session,
                    row,
                    Author.AGENT,
                    " ".join(filter(None, (asked.text, self._link(asked.url, row)))),
                    installation=plane.accounts.installation,
                    channel="sms",
                    number_id=number.id,
                    origin_id=asked.act_id,
                )
                await repository.notify(session, row, SENT, message_view(message))
            return row.id

    def _link(self, url: str, row: SessionRow) -> str:
        """The page with the session in its query."""
        segment = links.mint(
            self._plane.config.key_pepper,
            links.SESSION,
            ids.parsed(ids.PROJECT, row.project_id),
            ids.parsed(ids.SESSION, row.id),
            (datetime.now(UTC) + OPENS_FOR).timestamp(),
        )
        return f"{url}{'&' if '?' in url else '?'}session={quote(segment)}"


async def _leg(session: AsyncSession, asked: LinkAsked) -> _Leg:
    """The conversation in which the agent wants it sent, its session locked."""
    if asked.call_id.startswith(f"{ids.SESSION}_"):
        row = await session.get(SessionRow, SessionId(asked.call_id), with_for_update=True)
        if row is None or row.project_id != asked.project_id or row.state != SessionState.ACTIVE:
            raise Refused("the session is over")
        return _Leg(session=row, number_id=row.number_id)
    call = await session.get(CallRow, CallId(asked.call_id))
    if call is None or call.project_id != asked.project_id or call.agent_id is None or call.version_id is None:
        raise Refused("there is no such call of an agent of the project")
    contact = call.from_number if call.direction == "inbound" else call.to_number
    await one_at_a_time(session, call.project_id, contact)
    row = await repository.active(session, call.project_id, call.agent_id, contact)
    if row is None:
        row = SessionRow(
            id=SessionId(ids.mint(ids.SESSION)),
            project_id=call.project_id,
            agent_id=call.agent_id,
            version_id=call.version_id,
            variant=call.variant,
            channel="sms",
            number_id=call.number_id,
            contact=contact,
            variables=call.variables,
            metadata_=call.metadata_,
            knowledge_context=call.knowledge_context,
            expires_at=datetime.now(UTC) + repository.LASTS,
        )
        await repository.begin(session, row)
        await repository.notify(session, row, CREATED, session_view(row))
    return _Leg(session=row, number_id=call.number_id)
