"""Keeping credentials: encrypted before they are stored, never taken from under numbers and calls that need them."""

from typing import Final

from msgspec import json
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.credentials import repository
from turncall_control.credentials.model import CredentialRow
from turncall_control.credentials.schemas import (
    BucketNew,
    CredentialNew,
    ServerHeadersNew,
    TwilioAccountNew,
    VendorKeyNew,
    WhatsAppSenderNew,
)
from turncall_control.db.engine import in_project
from turncall_control.errors import Conflict, Invalid
from turncall_control.http.destinations import check_url
from turncall_control.plane import Plane
from turncall_control.vendors.catalogue import Catalogue
from turncall_control.wallet import (
    BUCKET,
    SERVER,
    TWILIO,
    VENDOR,
    WHATSAPP,
    OwnBucket,
    TwilioTokens,
    WhatsAppSecrets,
    boxed_sender,
    boxed_tokens,
    purpose,
)
from turncall_egress import Refused, authority, checked_url
from turncall_proto import ids
from turncall_proto.ids import CredentialId, ProjectId
from turncall_runtime.secret import Secret

HINT_LENGTH: Final = 4
SHORTEST_WITH_HINT: Final = 20
"""Of a shorter secret, four characters would tell too much."""


class AccountInUse(Conflict):
    """Numbers are bound in the account, or calls run over it: without its token nobody could end or release them."""

    name, title = "account-in-use", "The carrier's account is in use"


async def put(plane: Plane, project_id: ProjectId, asked: CredentialNew) -> CredentialRow:
    """Stores a credential in the place of the one for the same vendor or host, of the one at Twilio, or of the bucket.

    Raises `Invalid` for a vendor that takes no key, a host that no tool can ask and an endpoint that the wall refuses,
    and `AccountInUse` when another Twilio account is to take the place of one that is in use.
    """
    if isinstance(asked, BucketNew) and asked.endpoint is not None:
        await check_url(plane, asked.endpoint, "endpoint")
    kind, name, secret, hint = _taken_apart(plane.vendors, asked)
    box = await plane.vault.encrypt(project_id, purpose(kind, name), secret)
    made = CredentialRow(
        id=CredentialId(ids.mint(ids.CREDENTIAL)), project_id=project_id, kind=kind, name=name, box=box, hint=hint
    )
    async with in_project(plane.database, project_id) as session:
        replaced = await repository.lock(session, project_id, kind, name)
        if replaced is not None and replaced.name != name:
            await _require_unused(session, replaced)
        row = await repository.put(session, made, replaced)
    plane.wallets.forget(project_id)
    return row


async def delete(plane: Plane, project_id: ProjectId, credential_id: CredentialId) -> None:
    """Forgets a credential; the installation's, if there is one, is used from the next call on.

    Raises `AccountInUse`.
    """
    async with in_project(plane.database, project_id) as session:
        row = await repository.get(session, project_id, credential_id)
        await _require_unused(session, row)
        await session.delete(row)
    plane.wallets.forget(project_id)


async def _require_unused(session: AsyncSession, row: CredentialRow) -> None:
    if row.kind in (TWILIO, WHATSAPP) and await repository.is_account_in_use(session, row.project_id, row.name):
        raise AccountInUse("unbind its numbers and let its calls end first")


def _taken_apart(vendors: Catalogue, asked: CredentialNew) -> tuple[str, str, Secret, str]:
    """Kind, name, secret and hint."""
    if isinstance(asked, BucketNew):
        own = OwnBucket(**{field: getattr(asked, field) for field in OwnBucket.__struct_fields__})
        return BUCKET, asked.bucket, Secret(json.encode(own).decode()), _hint(asked.secret_key)
    if isinstance(asked, WhatsAppSenderNew):
        secrets = WhatsAppSecrets(
            access_token=asked.access_token,
            app_secret=asked.app_secret,
            secondary_app_secret=asked.secondary_app_secret,
            verify_token=asked.verify_token,
        )
        return WHATSAPP, asked.phone_number_id, boxed_sender(secrets), _hint(asked.access_token)
    if isinstance(asked, TwilioAccountNew):
        tokens = TwilioTokens(auth_token=asked.auth_token, secondary_auth_token=asked.secondary_auth_token)
        return TWILIO, asked.account_sid, boxed_tokens(tokens), _hint(asked.auth_token)
    if isinstance(asked, ServerHeadersNew):
        _require_askable(asked.host)
        return SERVER, asked.host, Secret(json.encode(asked.headers).decode()), ", ".join(sorted(asked.headers))
    _require_keyed(vendors, asked)
    return VENDOR, asked.vendor, Secret(asked.key), _hint(asked.key)


def _require_keyed(vendors: Catalogue, asked: VendorKeyNew) -> None:
    keyed = sorted(
        {name for kind in vendors.values() for name, vendor in kind.items() if vendor.capabilities.needs_secret}
    )
    if asked.vendor not in keyed:
        raise Invalid.at("vendor", f"There is no vendor of this name that takes a key; those are {', '.join(keyed)}")


def _require_askable(host: str) -> None:
    """By another spelling no tool would find its headers."""
    try:
        spelt = authority(checked_url(f"https://{host}"))
    except Refused as error:
        raise Invalid.at("host", f"No tool can ask it: {error}") from error
    if spelt != host:
        raise Invalid.at("host", f"It is written as {spelt}")


def _hint(secret: str) -> str:
    return secret[-HINT_LENGTH:] if len(secret) >= SHORTEST_WITH_HINT else ""
