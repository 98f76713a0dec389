"""Binding a number: claimed here first, then pointed at us at the carrier; unbound in the opposite order.

No transaction waits for the carrier. What a crash leaves behind is a bound number without ``configured_at``, which
`configure` mends, or a number whose addresses are cleared already, which the next unbind deletes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.carriers.base import Carrier, CarrierError, CarrierNumber, Gone, NotAuthorised, NumberUrls
from turncall_control.db.engine import in_project
from turncall_control.errors import CarrierFailed, Conflict, ControlError, Fault, Invalid, NotFound, Unavailable
from turncall_control.http.destinations import check_url
from turncall_control.numbers import repository
from turncall_control.numbers.model import NumberRow
from turncall_control.plane import Plane
from turncall_control.routing import Forward, Hold, Settings, WebhookTarget
from turncall_proto.ids import NumberId, ProjectId

CARRIER: Final = "twilio"
SENDER: Final = "whatsapp"
"""The carrier of numbers that are WhatsApp's alone."""
RETRY_AFTER_S: Final = 5
RETRIES: Final = "rc=3&rp=ct,rt,5xx"
"""Twilio's connection override: by itself it repeats neither a status callback nor a message answered with a 5xx."""
_NO_VOICE: Final = "WhatsApp neither speaks to a caller nor connects one to a phone"
_NOT_OWNED: Final = "The carrier's account does not own it"


class NumberTaken(Conflict):
    """The number is bound already, in this project or in another one; which is not said."""

    name, title = "number-taken", "The number is bound already"


class CredentialsRefused(Conflict):
    """The carrier does not accept the account's credentials, the project's own or the installation's."""

    name, title = "carrier-credentials-refused", "The carrier does not accept the credentials"


def urls(public_url: str, provider: str) -> NumberUrls:
    """Where a carrier sends the calls of our numbers, and the messages."""
    voice = f"{public_url}/webhooks/{provider}/voice"
    return NumberUrls(
        voice_url=f"{voice}/inbound",
        voice_fallback_url=f"{voice}/fallback",
        status_url=f"{voice}/status#{RETRIES}",
        sms_url=f"{public_url}/webhooks/{provider}/sms/inbound#{RETRIES}",
    )


def wanted_urls(public_url: str, row: NumberRow) -> NumberUrls:
    """Where the carrier is to send what happens on a number; messages only if the number takes them."""
    every = urls(public_url, row.carrier)
    return every if row.settings.channels.sms else replace(every, sms_url=None)


async def bind(
    plane: Plane, project_id: ProjectId, wanted: str, settings: Settings, max_concurrent_calls: int | None
) -> NumberRow:
    """Binds a number of the account and points it at us.

    Raises `Invalid` for an agent or a number that is not there or takes no calls, `NumberTaken`, `CarrierFailed`. When
    the carrier does not configure the number, it is not bound.
    """
    carrier = await plane.carrier(project_id, CARRIER)
    if isinstance(settings.routing, WebhookTarget):
        await check_url(plane, settings.routing.url, "routing.url")
    async with in_project(plane.database, project_id) as session:
        await _check(session, project_id, settings)
    number = await _owned_number(carrier, wanted, settings)
    try:
        async with in_project(plane.database, project_id) as session:
            row = await repository.add(session, project_id, settings, carrier, number)
            row.max_concurrent_calls = max_concurrent_calls
    except IntegrityError as error:
        raise NumberTaken("unbind it first, or bind another one") from error
    try:
        return await _configured(plane, carrier, row)
    except NotFound as error:
        await forget(plane, project_id, row.id)
        raise Invalid.at("number", _NOT_OWNED) from error
    except ControlError:
        await forget(plane, project_id, row.id)
        raise


async def bind_sender(plane: Plane, project_id: ProjectId, wanted: str, settings: Settings) -> NumberRow:
    """Binds the number of a WhatsApp sender of the project's; its webhooks are set up at Meta.

    Raises `Invalid` for an agent that is not there and for a number that none of the senders has, `NumberTaken`, and
    `CarrierFailed`.
    """
    if isinstance(settings.routing, WebhookTarget):
        await check_url(plane, settings.routing.url, "routing.url")
    async with in_project(plane.database, project_id) as session:
        await _check(session, project_id, settings, SENDER)
    with carrier_errors():
        owners = [one for one in await plane.accounts.senders(project_id) if await one.number() == wanted]
    if not owners:
        raise Invalid.at("number", "None of the project's WhatsApp senders has it: see PUT /v1/credentials")
    owned = CarrierNumber(sid=owners[0].account, e164=wanted, label="", can_voice=False, can_sms=False)
    try:
        async with in_project(plane.database, project_id) as session:
            row = await repository.add(session, project_id, settings, owners[0], owned)
            repository.confirmed(row)
            await session.flush()
            await session.refresh(row)
    except IntegrityError as error:
        raise NumberTaken("unbind it first, or bind another one") from error
    return row


async def change(
    plane: Plane,
    project_id: ProjectId,
    number_id: NumberId,
    changes: Mapping[str, Any],
    max_concurrent_calls: int | UnsetType | None,
) -> NumberRow:
    """Replaces parts of what the number does with its calls, and their limit. Raises `Invalid`, for lost agents too."""
    if isinstance(changes.get("routing"), WebhookTarget):
        await check_url(plane, changes["routing"].url, "routing.url")
    async with in_project(plane.database, project_id) as session:
        row = await repository.lock(session, project_id, number_id)
        settings = replace(row.settings, **changes)
        await _check(session, project_id, settings, row.carrier)
        repository.change(row, settings)
        if max_concurrent_calls is not UNSET:
            row.max_concurrent_calls = max_concurrent_calls
    return row


async def configure(plane: Plane, project_id: ProjectId, number_id: NumberId) -> NumberRow:
    """Points a bound number at us once more. A repeat changes nothing."""
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, number_id)
        if row.carrier == SENDER:
            return row
    return await _configured(plane, await plane.carrier_of(project_id, row.carrier, row.account), row)


async def unbind(plane: Plane, project_id: ProjectId, number_id: NumberId) -> None:
    """Takes our addresses off the number, then forgets it. When the carrier fails, it stays bound."""
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, number_id)
    if row.carrier == SENDER:
        await forget(plane, project_id, number_id)
        return
    carrier = await plane.carrier_of(project_id, row.carrier, row.account)
    with carrier_errors():
        await carrier.release_number(row.carrier_sid, urls(plane.config.public_url, row.carrier))
    await forget(plane, project_id, number_id)


async def _configured(plane: Plane, carrier: Carrier, row: NumberRow) -> NumberRow:
    with carrier_errors():
        await carrier.configure_number(row.carrier_sid, wanted_urls(plane.config.public_url, row))
    async with in_project(plane.database, row.project_id) as session:
        fresh = await repository.get(session, row.project_id, row.id)
        repository.confirmed(fresh)
    return fresh


async def forget(plane: Plane, project_id: ProjectId, number_id: NumberId) -> None:
    """Deletes a number here; the carrier is not asked. Raises `NotFound`."""
    async with in_project(plane.database, project_id) as session:
        await session.delete(await repository.get(session, project_id, number_id))


async def _owned_number(carrier: Carrier, wanted: str, settings: Settings) -> CarrierNumber:
    try:
        with carrier_errors():
            number = await carrier.find_number(wanted)
    except NotFound as error:
        raise Invalid.at("number", _NOT_OWNED) from error
    if settings.channels.voice and not number.can_voice:
        raise Invalid.at("number", "The carrier does not take calls on it")
    return number


async def _check(session: AsyncSession, project_id: ProjectId, settings: Settings, carrier: str = CARRIER) -> None:
    """Raises `Invalid` with everything that keeps these settings from working."""
    faults = [Fault(field=field, message=_NO_VOICE) for field in _unspoken(settings) if carrier == SENDER]
    faults += await agents.unavailable(session, project_id, settings.agents())
    if isinstance(settings.busy, Forward) and settings.fallback.number is None:
        faults.append(Fault(field="fallback.number", message="Forwarding needs a phone number to forward to"))
    if faults:
        raise Invalid(faults=faults)


def _unspoken(settings: Settings) -> Iterator[str]:
    """What only a carrier could do that speaks to callers itself, and connects them to phones."""
    if settings.fallback.number is not None:
        yield "fallback.number"
    if settings.fallback.sentence is not None:
        yield "fallback.sentence"
    if isinstance(settings.busy, Forward):
        yield "busy"
    if isinstance(settings.busy, Hold) and settings.busy.message != Hold().message:
        yield "busy.message"


@contextmanager
def carrier_errors() -> Iterator[None]:
    """A carrier's refusal in the words of a request's errors: gone, failed for good, or worth another try."""
    try:
        yield
    except Gone as error:
        raise NotFound("the carrier's account no longer owns the number") from error
    except NotAuthorised as error:
        raise CredentialsRefused(str(error)) from error
    except CarrierError as error:
        if error.is_retryable:
            raise Unavailable(f"the carrier: {error}", retry_after_s=RETRY_AFTER_S) from error
        raise CarrierFailed(str(error)) from error
