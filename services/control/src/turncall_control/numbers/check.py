"""Whether a bound number would work if it were called: its account, its addresses at the carrier, its agents."""

from collections.abc import AsyncIterator, Collection, Iterator
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.agents.model import VersionState
from turncall_control.carriers.base import Carrier, CarrierError, CarrierNumber, NumberUrls
from turncall_control.db.engine import in_project
from turncall_control.errors import ControlError, NotFound
from turncall_control.numbers import repository
from turncall_control.numbers.model import NumberRow
from turncall_control.numbers.schemas import Finding, NumberCheck
from turncall_control.numbers.service import SENDER, wanted_urls
from turncall_control.plane import Plane
from turncall_control.vendors.catalogue import missing_keys
from turncall_proto.ids import AgentId, NumberId, ProjectId

_CONFIGURE = "POST /v1/numbers/{id}/configure"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class _Account(Struct, frozen=True, kw_only=True):
    """What the carrier said: how the account stands, and the number, or in its words why not."""

    standing: str
    number: CarrierNumber | None
    refusal: str = ""


async def check(plane: Plane, project_id: ProjectId, number_id: NumberId) -> NumberCheck:
    """Asks the carrier and the database, and changes nothing. Raises `NotFound` for a number that is not bound.

    A carrier that cannot be asked is a finding, not an error.
    """
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, number_id)
        answering = [finding async for finding in _agents(plane, session, row)]
    account = await _asked(plane, row)
    ours = wanted_urls(plane.config.public_url, row)
    findings = (
        public_address(plane.config.public_url, is_production=plane.config.env == "production"),
        *_carrier_findings(account, ours),
        *answering,
    )
    return NumberCheck(
        number_id=row.id, e164=row.e164, is_ok=all(finding.is_ok for finding in findings), findings=findings
    )


def public_address(public_url: str, *, is_production: bool) -> Finding:
    """Whether a carrier out on the internet could reach us. On a developer's machine the emulator can."""
    parts = urlsplit(public_url)
    is_public = parts.scheme == "https" and parts.hostname not in _LOOPBACK
    return Finding(
        check="public_url",
        is_ok=is_public or not is_production,
        found=public_url,
        expected="https, and no loopback address" if is_production else "an address that the carrier reaches",
        what_to_do="" if is_public or not is_production else "set TURNCALL_PUBLIC_URL, then configure each number",
    )


def addresses(number: CarrierNumber, ours: NumberUrls) -> Iterator[Finding]:
    """Where the carrier sends a number's calls and messages, against where they belong."""
    pairs: list[tuple[Literal["voice_url", "voice_fallback_url", "status_url", "sms_url"], str, str]] = [
        ("voice_url", number.voice_url, ours.voice_url),
        ("voice_fallback_url", number.voice_fallback_url, ours.voice_fallback_url),
        ("status_url", number.status_url, ours.status_url),
    ]
    if ours.sms_url is not None and number.can_sms:
        pairs.append(("sms_url", number.sms_url, ours.sms_url))
    for name, found, expected in pairs:
        is_ok = found == expected
        yield Finding(check=name, is_ok=is_ok, found=found, expected=expected, what_to_do="" if is_ok else _CONFIGURE)
    yield Finding(
        check="not_diverted",
        is_ok=not number.is_diverted,
        found="an application or a SIP trunk" if number.is_diverted else "addresses of its own",
        expected="addresses of its own",
        what_to_do="take the application or SIP trunk off the number at the carrier" if number.is_diverted else "",
    )


def _carrier_findings(account: _Account, ours: NumberUrls) -> Iterator[Finding]:
    is_active = account.standing == "active"
    yield Finding(
        check="carrier_account",
        is_ok=is_active,
        found=account.standing,
        expected="active",
        what_to_do="" if is_active else "check the carrier's credentials and that its account is in good standing",
    )
    if is_active:
        yield Finding(
            check="carrier_owns_number",
            is_ok=account.number is not None,
            found=account.refusal or "owned",
            expected="owned",
            what_to_do="" if account.number else "unbind the number, or bring it back into the carrier's account",
        )
    if account.number is not None and account.number.can_voice | account.number.can_sms:
        yield from addresses(account.number, ours)


async def _asked(plane: Plane, row: NumberRow) -> _Account:
    if row.carrier == SENDER:
        return await _sender(plane, row)
    try:
        carrier: Carrier = await plane.carrier_of(row.project_id, row.carrier, row.account)
        standing = await carrier.check()
    except (CarrierError, ControlError) as error:
        return _Account(standing=str(error) or type(error).__name__, number=None)
    try:
        return _Account(standing=standing, number=await carrier.find_number(row.carrier_sid))
    except CarrierError as error:
        return _Account(standing=standing, number=None, refusal=str(error))


async def _sender(plane: Plane, row: NumberRow) -> _Account:
    """What WhatsApp says of a sender; where its webhooks go is set up at Meta, which does not say."""
    try:
        sender = await plane.accounts.whatsapp(row.project_id, row.account)
        found = "" if sender is None else await sender.number()
    except CarrierError as error:
        return _Account(standing=str(error) or type(error).__name__, number=None)
    if sender is None:
        return _Account(standing="it is not among the project's credentials", number=None)
    owned = CarrierNumber(sid=row.carrier_sid, e164=found, label="", can_voice=False, can_sms=False)
    is_its = found == row.e164
    return _Account(standing="active", number=owned if is_its else None, refusal="" if is_its else "another number")


async def _agents(plane: Plane, session: AsyncSession, row: NumberRow) -> AsyncIterator[Finding]:
    held = await plane.held_keys(row.project_id)
    for path, agent_id in row.settings.agents():
        found = await _why_silent(plane, session, row.project_id, agent_id, held)
        yield Finding(
            check="agent",
            is_ok=not found,
            found=f"{path}: {found or 'answers'}",
            expected=f"{path}: answers",
            what_to_do="" if not found else f"mend and publish {agent_id}, or name another one",
        )


async def _why_silent(
    plane: Plane, session: AsyncSession, project_id: ProjectId, agent_id: AgentId, held: Collection[str]
) -> str:
    """Why an agent would not answer; empty when it would."""
    try:
        agent = await agents.get(session, project_id, agent_id)
    except NotFound:
        return "there is no such agent any more"
    if agent.archived_at is not None:
        return "it is archived"
    version = (await agents.current(session, agent)).get(VersionState.PUBLISHED)
    if version is None:
        return "no version is published"
    missing = missing_keys(plane.vendors, version.config, held)
    return f"no key for {', '.join(missing)}" if missing else ""
