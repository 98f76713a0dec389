"""The secrets that sign every request from a project's agents to the project's own servers, and their rotation."""

import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.db.base import owned
from turncall_control.db.engine import in_project
from turncall_control.plane import Plane
from turncall_control.projects import repository
from turncall_control.projects.model import SigningSecretRow
from turncall_control.wallet import SIGNING, Wallet, purpose
from turncall_egress.signing import new_secret
from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime.secret import Secret

_PURPOSE = purpose(SIGNING, "")
AT_ONCE: Final = 50


def signing_secrets(pepper: Secret, project_id: ProjectId, wallet: Wallet) -> tuple[Secret, ...]:
    """What requests are signed with, the newest first: while a secret rotates, the one before signs as well."""
    return wallet.signing_secrets or (derived_secret(pepper, project_id),)


def derived_secret(pepper: Secret, project_id: ProjectId) -> Secret:
    """The first secret of a project that has none stored: ``whsec_…`` as Standard Webhooks writes it (32 bytes)."""
    key = hmac.digest(pepper.reveal().encode(), f"requests of {project_id}".encode(), sha256)
    return Secret("whsec_" + b64encode(key).decode())


async def store_first(plane: Plane, project_id: ProjectId) -> None:
    """Gives a new project a random secret. Until it is stored the derived one signs, so a crash in between is fine."""
    box = await plane.vault.encrypt(project_id, _PURPOSE, Secret(new_secret()))
    async with in_project(plane.database, project_id) as session:
        session.add(SigningSecretRow(project_id=project_id, box=box))


async def store_derived(plane: Plane) -> None:
    """Stores the derived secret of projects that have none stored, so that it outlives the pepper."""
    async with plane.database.pool.connection() as connection:
        cursor = await connection.execute(
            "select p.id from projects p where p.deleted_at is null and p.created_at < now() - interval '1 min'"
            " and not exists (select from signing_secrets s where s.project_id = p.id) limit %s",
            (AT_ONCE,),
        )
        found = await cursor.fetchall()
    for (project,) in found:
        project_id = ProjectId(ids.written(ids.PROJECT, project))
        box = await plane.vault.encrypt(project_id, _PURPOSE, derived_secret(plane.config.key_pepper, project_id))
        async with plane.database.pool.connection() as connection:
            await connection.execute(
                "insert into signing_secrets (project_id, box, created_at) select id, %s, created_at from projects"
                " where id = %s on conflict do nothing",
                (box, project),
            )


async def rotate(plane: Plane, project_id: ProjectId, overlap_s: int) -> Secret:
    """A new secret, which signs from the next call on; the one before signs beside it for ``overlap_s``.

    Two at most sign at a time: one that is retiring already signs no more.
    """
    made = Secret(new_secret())
    box = await plane.vault.encrypt(project_id, _PURPOSE, made)
    derived = await plane.vault.encrypt(project_id, _PURPOSE, derived_secret(plane.config.key_pepper, project_id))
    retires_at = datetime.now(UTC) + timedelta(seconds=overlap_s)
    async with in_project(plane.database, project_id) as session:
        project = await repository.get(session, project_id, is_locked=True)
        first = SigningSecretRow(project_id=project_id, box=derived, created_at=project.created_at)
        current = await _current(session, project_id) or first
        await session.execute(
            delete(SigningSecretRow).where(
                owned(SigningSecretRow.project_id, project_id), SigningSecretRow.retires_at.is_not(None)
            )
        )
        current.retires_at = retires_at
        session.add(current)
        # Before its successor: the index allows one current secret at any moment.
        await session.flush()
        session.add(SigningSecretRow(project_id=project_id, box=box))
    plane.wallets.forget(project_id)
    return made


async def _current(session: AsyncSession, project_id: ProjectId) -> SigningSecretRow | None:
    statement = select(SigningSecretRow).where(
        owned(SigningSecretRow.project_id, project_id), SigningSecretRow.retires_at.is_(None)
    )
    return await session.scalar(statement)
