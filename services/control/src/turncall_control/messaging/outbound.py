"""Writing to a contact: the session it belongs to, whether the person may be written to, and the message on its way."""

from datetime import UTC, datetime
from typing import Final

from msgspec.structs import asdict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import VersionRow
from turncall_control.agents.repository import in_service
from turncall_control.calls import deciding
from turncall_control.carriers.base import Template
from turncall_control.chat import repository
from turncall_control.chat.model import Author, MessageRow, SessionRow
from turncall_control.chat.views import message_view, session_view
from turncall_control.db.base import owned
from turncall_control.db.engine import bare
from turncall_control.dials import policy
from turncall_control.errors import Conflict, ControlError, Invalid, Unavailable
from turncall_control.messaging.arrivals import living, one_at_a_time
from turncall_control.messaging.schemas import OutboundMessageNew
from turncall_control.numbers.model import NumberRow
from turncall_control.routing import BoundNumber, WebhookTarget
from turncall_control.settings import OutboundPolicy
from turncall_control.texts import optouts, window
from turncall_control.webhooks.sessions import CREATED, SENT
from turncall_proto import ids
from turncall_proto.ids import AgentId, CallId, ProjectId, SessionId

CARRIERS: Final = {"sms": "twilio", "whatsapp": "whatsapp"}
"""Whose numbers a channel goes from."""


class OptedOut(Conflict):
    """The contact has asked to get no messages from this number: it may only be written to again when it says START."""

    name, title = "opted-out", "The contact wants no messages from this number"


class NotAllowed(ControlError):
    """The project's settings do not let it write to this number."""

    status, name, title = 403, "destination-not-allowed", "The project does not write to this number"


class WindowShut(Conflict):
    """The contact has not written to this number within 24 hours: WhatsApp takes nothing but a template then."""

    name, title = "window-closed", "The contact has not written for 24 hours"


class ChannelOff(Conflict):
    """The number is not used for this channel."""

    name, title = "channel-off", "The number does not send on this channel"


async def write(
    session: AsyncSession, project_id: ProjectId, rules: OutboundPolicy, installation: str, wanted: OutboundMessageNew
) -> MessageRow:
    """The message in its session, and the intent to send it; the carrier has not been asked.

    Raises `Invalid`, `NotAllowed`, `OptedOut`, `WindowShut`, `ChannelOff`, and `Unavailable` when the number's account
    is none of ours.
    """
    number = await session.scalar(
        select(NumberRow).where(
            NumberRow.e164 == wanted.from_,
            NumberRow.carrier == CARRIERS[wanted.channel],
            owned(NumberRow.project_id, project_id),
        )
    )
    if number is None:
        raise Invalid.at("from", "It is no number of this project")
    if not getattr(number.settings.channels, wanted.channel):
        raise ChannelOff(f"switch {wanted.channel} on for it")
    if not (number.account or installation):
        raise Unavailable("this installation has no account for the number any more", retry_after_s=60)
    if not policy.is_allowed(rules, wanted.to):
        raise NotAllowed("its prefix is not among the settings' outbound.allowed_prefixes")
    if wanted.template is not None and wanted.channel != "whatsapp":
        raise Invalid.at("template", "Only WhatsApp has templates")
    if wanted.channel == "whatsapp" and wanted.template is None:
        about = ids.parsed(ids.PROJECT, project_id), ids.parsed(ids.NUMBER, number.id), wanted.to
        if not await window.is_open(await bare(session), *about):
            raise WindowShut
    if await optouts.is_out(await bare(session), ids.parsed(ids.NUMBER, number.id), wanted.to):
        raise OptedOut
    await one_at_a_time(session, project_id, wanted.to)
    row = await _session(session, project_id, number, wanted)
    row.channel, row.number_id = wanted.channel, number.id
    template = None if wanted.template is None else Template(**asdict(wanted.template))
    message = await repository.answer(
        session, row, Author.OPERATOR, wanted.text, installation=installation, template=template
    )
    await repository.notify(session, row, SENT, message_view(message))
    return message


async def _session(
    session: AsyncSession, project_id: ProjectId, number: NumberRow, wanted: OutboundMessageNew
) -> SessionRow:
    """The contact's session with the agent that is named; without one the session that lives on this number, else a
    new one with whoever answers there."""
    bound = BoundNumber(project_id=project_id, number_id=number.id, settings=number.settings, account=number.account)
    if wanted.agent_id is None:
        found = await living(session, bound, wanted.to)
        if found is not None:
            return await repository.get(session, project_id, found.id, is_locked=True)
    agent_id, variant = (wanted.agent_id, None) if wanted.agent_id else _agent(bound, wanted.to)
    row = await repository.active(session, project_id, agent_id, wanted.to)
    if row is not None:
        return row
    version: VersionRow | None = await in_service(session, project_id, agent_id)
    if version is None:
        raise Invalid.at("agent_id", "There is no such agent in this project, or it is not published")
    row = SessionRow(
        id=SessionId(ids.mint(ids.SESSION)),
        project_id=project_id,
        agent_id=version.agent_id,
        version_id=version.id,
        variant=variant,
        channel=wanted.channel,
        number_id=number.id,
        contact=wanted.to,
        variables=wanted.variables,
        metadata_=wanted.metadata,
        expires_at=datetime.now(UTC) + repository.LASTS,
    )
    await repository.begin(session, row)
    await repository.notify(session, row, CREATED, session_view(row))
    return row


def _agent(number: BoundNumber, contact: str) -> tuple[AgentId, str | None]:
    target = number.settings.routing
    if isinstance(target, WebhookTarget):
        raise Invalid.at("agent_id", "It must be given: the number's routing asks the project's server")
    agent_id, routed = deciding.aimed_at(target, contact, CallId(""))
    return agent_id, routed.variant
