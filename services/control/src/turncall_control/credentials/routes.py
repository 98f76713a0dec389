"""/v1/credentials: a project's own keys and accounts, which go before the installation's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import IN_PROJECT, Caller, Finds, Permission, in_path, needs
from turncall_control.credentials import probes, repository, service
from turncall_control.credentials.model import CredentialRow
from turncall_control.credentials.schemas import (
    CredentialNew,
    CredentialView,
    Verification,
    VerificationAsked,
)
from turncall_control.db.engine import in_project
from turncall_control.duty import repeated
from turncall_control.errors import Invalid
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_control.wallet import BUCKET, SERVER, VENDOR, WHATSAPP, purpose
from turncall_proto import ids
from turncall_proto.ids import CredentialId

STAMP_EVERY_S: Final = 10.0
_CREDENTIAL: Final[Finds] = in_path("credential_id", ids.CREDENTIAL)
_READ, _WRITE = Permission.CREDENTIALS_READ, Permission.CREDENTIALS_WRITE


@put("/v1/credentials", tags=["credentials"], opt=needs(_WRITE, IN_PROJECT, fails=[service.AccountInUse]))
async def put_credential(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[CredentialNew]
) -> CredentialView:
    """Stores the key of a vendor, the project's Twilio account, its bucket, a WhatsApp number, or headers for a server.

    Each takes the place of the one before.

    Calls that begin from now on use it, and so do calls that go on with another worker. Recordings are moved into the
    bucket once their call is over, and erased there with it; those that lie in a bucket are out of reach once its
    credential is replaced by that of another one, or deleted.
    """
    return _view(await service.put(plane, caller.project_id, data))


@get("/v1/credentials", tags=["credentials"], opt=needs(_READ, IN_PROJECT))
async def list_credentials(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], page: NamedDependency[PageAsked]
) -> Page[CredentialView]:
    """The project's credentials, newest first; the installation's are not among them."""
    rows = await repository.page(session, caller.project_id, page)
    return paged(rows, page, _view, lambda row: (row.id,))


@get("/v1/credentials/{credential_id:str}", tags=["credentials"], opt=needs(_READ, _CREDENTIAL))
async def get_credential(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], credential_id: FromPath[str]
) -> CredentialView:
    """One credential, without its secret."""
    return _view(await repository.get(session, caller.project_id, CredentialId(credential_id)))


@delete(
    "/v1/credentials/{credential_id:str}",
    tags=["credentials"],
    opt=needs(_WRITE, _CREDENTIAL, fails=[service.AccountInUse]),
)
async def delete_credential(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], credential_id: FromPath[str]
) -> None:
    """Forgets a credential. A vendor's key of the installation, if there is one, is used from the next call on."""
    await service.delete(plane, caller.project_id, CredentialId(credential_id))


@post(
    "/v1/credentials/{credential_id:str}/verify",
    status_code=200,
    tags=["credentials"],
    opt=needs(_WRITE, _CREDENTIAL),
)
async def verify_credential(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    credential_id: FromPath[str],
    data: JSONBody[VerificationAsked],
) -> Verification:
    """Asks the vendor or the carrier whether it accepts the credential; what a server of yours accepts is not known."""
    async with in_project(plane.database, caller.project_id) as session:
        row = await repository.get(session, caller.project_id, CredentialId(credential_id))
    if row.kind == VENDOR:
        key = await plane.vault.decrypt(row.project_id, purpose(row.kind, row.name), row.box)
        return await probes.ask_vendor(row.name, key, data.base_url, plane.config.egress_networks)
    if row.kind == BUCKET:
        if data.base_url is not None:
            raise Invalid.at("base_url", "The bucket is asked where the credential says that it is")
        return await probes.ask_bucket(plane.shelves, row.project_id)
    if row.kind == SERVER:
        return Verification(outcome="unverifiable", detail=f"only the tools at {row.name} know what it accepts")
    if data.base_url is not None:
        raise Invalid.at("base_url", "Carriers are asked where the installation reaches them")
    if row.kind == WHATSAPP:
        sender = await plane.accounts.whatsapp(row.project_id, row.name)
        return await probes.ask_sender(sender)
    return await probes.ask_carrier(await plane.carrier(row.project_id, row.kind))


@asynccontextmanager
async def note_use(plane: Plane) -> AsyncIterator[None]:
    """Writes down when credentials were used."""
    async with repeated("credentials", plane.wallets.stamp, STAMP_EVERY_S):
        yield


def _view(row: CredentialRow) -> CredentialView:
    return convert(row, CredentialView, from_attributes=True)


CREDENTIALS: Final = Slice(
    name="credentials",
    routes=(put_credential, list_credentials, get_credential, delete_credential, verify_credential),
    tasks=(note_use,),
)
