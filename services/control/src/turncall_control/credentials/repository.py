"""Reading and writing credentials."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.credentials.model import CredentialRow
from turncall_control.db.base import owned
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.wallet import SERVER, VENDOR, WHATSAPP
from turncall_proto import ids
from turncall_proto.ids import CredentialId, ProjectId


async def put(session: AsyncSession, row: CredentialRow, replaced: CredentialRow | None) -> CredentialRow:
    """Stores a credential in the place of ``replaced``, whose id and moment of creation it keeps."""
    if replaced is None:
        session.add(row)
        await session.flush()
        await session.refresh(row)
        return row
    replaced.name, replaced.box, replaced.hint = row.name, row.box, row.hint
    replaced.updated_at = datetime.now(UTC)
    await session.flush()
    return replaced


async def lock(session: AsyncSession, project_id: ProjectId, kind: str, name: str) -> CredentialRow | None:
    """The stored credential that a new one replaces, locked: by its name, but for those of which there is one."""
    statement = select(CredentialRow).where(owned(CredentialRow.project_id, project_id), CredentialRow.kind == kind)
    if kind in (VENDOR, SERVER, WHATSAPP):
        statement = statement.where(CredentialRow.name == name)
    return await session.scalar(statement.with_for_update())


async def get(session: AsyncSession, project_id: ProjectId, credential_id: CredentialId) -> CredentialRow:
    """One credential of the project. Raises `NotFound`."""
    row = await session.scalar(
        select(CredentialRow).where(CredentialRow.id == credential_id, owned(CredentialRow.project_id, project_id))
    )
    if row is None:
        raise NotFound
    return row


async def page(session: AsyncSession, project_id: ProjectId, asked: PageAsked) -> Sequence[CredentialRow]:
    """A page of the project's credentials."""
    statement = select(CredentialRow).where(owned(CredentialRow.project_id, project_id))
    return (await session.scalars(newest_first(statement, CredentialRow.id, ids.CREDENTIAL, asked))).all()


async def is_account_in_use(session: AsyncSession, project_id: ProjectId, account: str) -> bool:
    """Whether a number of the project is bound in the account, or a live call runs over it."""
    found = await session.scalar(
        text(
            "select exists (select from numbers where project_id = :project and account = :account)"
            " or exists (select from calls where project_id = :project and account = :account and over_at is null)"
        ),
        {"project": ids.parsed(ids.PROJECT, project_id), "account": account},
    )
    return bool(found)
