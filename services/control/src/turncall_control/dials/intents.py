"""Taking on a call that a user asks for: who speaks, from which number, whether and when the person may be called."""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.repository import speaking
from turncall_control.calls.beginning import begin
from turncall_control.calls.model import CallRow
from turncall_control.db.base import owned
from turncall_control.db.engine import bare
from turncall_control.dials import policy
from turncall_control.dials.model import DialRow, DialState
from turncall_control.dials.policy import NoTimeInCommon
from turncall_control.dials.schemas import OutboundCallNew
from turncall_control.donotcall import repository as donotcall
from turncall_control.errors import ControlError, Invalid, Unavailable
from turncall_control.numbers.model import NumberRow
from turncall_control.numbers.service import SENDER
from turncall_control.settings import OutboundPolicy
from turncall_proto import ids
from turncall_proto.call import CallState
from turncall_proto.ids import CallId, ProjectId

MOST_QUEUED: Final = 10_000
"""Calls of one project that wait to be dialled."""
LATEST: Final = timedelta(days=30)
BY_API: Final = 0
"""The priority of calls that were asked for one by one."""


class NotAllowed(ControlError):
    """The project's settings do not let its agents call this number."""

    status, name, title = 403, "destination-not-allowed", "The project does not call this number"


class OnDoNotCallList(ControlError):
    """The person has asked not to be called, or somebody has for them."""

    status, name, title = 403, "on-do-not-call-list", "The number is on the project's do-not-call list"


class QueueFull(ControlError):
    """So many of the project's calls wait to be dialled that no more are taken on."""

    status, name, title = 429, "dial-queue-full", "Too many calls wait to be dialled"


async def take_on(
    session: AsyncSession, project_id: ProjectId, rules: OutboundPolicy, installation: str, wanted: OutboundCallNew
) -> tuple[CallRow, DialRow]:
    """The call's row and the intent to dial it, in the transaction of ``session``; nobody has been asked yet.

    ``installation`` is the carrier account of numbers that name none. Raises `Invalid`, `NotAllowed`,
    `OnDoNotCallList`, `QueueFull`, and `Unavailable` when the number's account is none of ours.
    """
    number = await _number(session, project_id, wanted)
    if wanted.channel == "whatsapp" and wanted.answering_machine_detection != "off":
        raise Invalid.at("answering_machine_detection", "WhatsApp listens to nobody, and no machine answers there")
    version = await speaking(session, project_id, wanted.agent_id, wanted.version_id)
    zones = _zones(wanted)
    if not policy.is_allowed(rules, wanted.to):
        raise NotAllowed("its prefix is not among the settings' outbound.allowed_prefixes")
    if await donotcall.holds(await bare(session), project_id, wanted.to):
        raise OnDoNotCallList("it has to be taken off the list first")
    account = number.account or installation
    if not account:
        raise Unavailable("this installation has no account for the number any more", retry_after_s=60)
    if await _queued(session, project_id) >= MOST_QUEUED:
        raise QueueFull(f"{MOST_QUEUED} wait; some are dialled first", headers={"Retry-After": "60"})
    call = CallRow(
        id=CallId(ids.mint(ids.CALL)),
        project_id=project_id,
        agent_id=version.agent_id,
        version_id=version.id,
        number_id=number.id,
        channel=wanted.channel,
        direction="outbound",
        from_number=number.e164,
        to_number=wanted.to,
        provider=number.carrier,
        account=account,
        status=CallState.INITIATED,
        variables=wanted.variables,
        metadata_=wanted.metadata,
    )
    dial = DialRow(
        call_id=call.id,
        project_id=project_id,
        account=account,
        priority=BY_API,
        state=DialState.QUEUED,
        due_at=_due_at(rules, zones, wanted.not_before),
        ring_timeout_s=wanted.ring_timeout_s,
        zone=wanted.timezone,
        is_detecting=wanted.answering_machine_detection == "carrier",
    )
    await put(session, call, dial)
    return call, dial


async def put(session: AsyncSession, call: CallRow, dial: DialRow) -> None:
    """Stores a new call and the intent to dial it, and states that there is one."""
    await begin(session, call)
    session.add(dial)
    await session.flush()


async def _number(session: AsyncSession, project_id: ProjectId, wanted: OutboundCallNew) -> NumberRow:
    is_of_channel = NumberRow.carrier == SENDER if wanted.channel == "whatsapp" else NumberRow.carrier != SENDER
    found = await session.scalar(
        select(NumberRow).where(NumberRow.e164 == wanted.from_, is_of_channel, owned(NumberRow.project_id, project_id))
    )
    if found is None:
        raise Invalid.at("from", "It is no number of this project")
    return found


async def _queued(session: AsyncSession, project_id: ProjectId) -> int:
    counted = select(func.count()).where(owned(DialRow.project_id, project_id), DialRow.state == DialState.QUEUED)
    return await session.scalar(counted) or 0


def _zones(wanted: OutboundCallNew) -> tuple[ZoneInfo, ...]:
    if wanted.timezone is None:
        return policy.zones_of(wanted.to)
    zone = policy.zone_named(wanted.timezone)
    if zone is None:
        raise Invalid.at("timezone", "There is no such time zone")
    return (zone,)


def _due_at(rules: OutboundPolicy, zones: tuple[ZoneInfo, ...], not_before: datetime | None) -> datetime:
    now = datetime.now(UTC)
    if not_before is not None and not_before > now + LATEST:
        raise Invalid.at("not_before", f"It is more than {LATEST.days} days ahead")
    due_at = max(now, not_before or now)
    if rules.calling_hours is None:
        return due_at
    if not zones:
        raise Invalid.at("timezone", "The project has calling hours, and the number does not say where it is")
    try:
        return policy.opens_at(rules.calling_hours, zones, due_at)
    except NoTimeInCommon as error:
        message = "The project's calling hours fall together nowhere in the number's time zones"
        raise Invalid.at("timezone", message) from error
