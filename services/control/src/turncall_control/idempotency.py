"""Idempotency keys: a request that is sent twice acts once, and gets the same answer both times.

A key is claimed before the act; the answer is stored by the transaction of the act where there is one, so that either
both are there or neither. Only successes are kept: a refused request changed nothing and may be sent again.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Boolean, Index, event, text
from sqlalchemy.orm import Mapped, Session, UOWTransaction, mapped_column

from turncall_control.db.act import Answer, Claim, current
from turncall_control.db.base import Id, Row
from turncall_control.db.engine import Database, WatchedSession, in_project
from turncall_control.errors import Conflict
from turncall_proto import ids
from turncall_proto.ids import ProjectId

REMEMBER: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=60)
"""An attempt of which nothing was heard for as long has died; no request takes longer."""

_HAS_CHANGES: Final = "turncall_has_changes"

_CLAIM: Final = text("""
    insert into idempotency_keys as known (project_id, key, fingerprint, claim, claimed_until, expires_at)
    values (:project, :key, :fingerprint, :claim, now() + :lease, now() + :remember)
    on conflict (project_id, key) do update set
        fingerprint = excluded.fingerprint, claim = excluded.claim, claimed_until = excluded.claimed_until,
        expires_at = excluded.expires_at, has_acted = false, status = null, media_type = null, answer = null
    where known.expires_at < now()
        or (known.status is null and not known.has_acted and known.claimed_until < now()
            and known.fingerprint = excluded.fingerprint)
    returning claim
""")
_READ: Final = text("""
    select fingerprint, status, media_type, answer, claimed_until < now() as is_over from idempotency_keys
    where project_id = :project and key = :key
""")
_ANSWERED: Final = text("""
    update idempotency_keys set status = :status, media_type = :media_type, answer = :body
    where project_id = :project and key = :key and claim = :claim
""")
_ACTED: Final = text(
    "update idempotency_keys set has_acted = true where project_id = :project and key = :key and claim = :claim"
)
_RELEASE: Final = text("""
    delete from idempotency_keys where project_id = :project and key = :key and claim = :claim
        and status is null and (:is_refused or not has_acted)
""")


class KeyUse(Row):
    """What became of one key in one project."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_expires_at", "expires_at"),)

    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    claim: Mapped[UUID]
    claimed_until: Mapped[datetime]
    expires_at: Mapped[datetime]
    has_acted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    status: Mapped[int | None]
    media_type: Mapped[str | None]
    answer: Mapped[bytes | None]


class KeyReused(Conflict):
    """The Idempotency-Key was sent before with another request."""

    name, title = "idempotency-key-reused", "The idempotency key belongs to another request"


class StillRunning(Conflict):
    """The first request with this Idempotency-Key has not been answered yet."""

    name, title = "still-running", "The same request is still running"


class AnswerLost(Conflict):
    """The first request with this Idempotency-Key took effect, and died before its answer was kept."""

    name, title = "answer-lost", "The request took effect, its answer was lost"


async def claim(database: Database, project_id: ProjectId, key: str, fingerprint: bytes) -> Claim | Answer:
    """The right to act for a key, or the answer that an earlier request with it got.

    ``fingerprint`` stands for method, path and body. Raises `KeyReused`, `StillRunning`, `AnswerLost`.
    """
    wanted = Claim(project_id=project_id, key=key, id=uuid4())
    about = _about(wanted)
    async with in_project(database, project_id) as session:
        values = about | {"fingerprint": fingerprint, "lease": LEASE, "remember": REMEMBER}
        if (await session.execute(_CLAIM, values)).first() is not None:
            return wanted
        known = (await session.execute(_READ, about)).first()
    if known is None or (known.fingerprint == fingerprint and known.status is None and not known.is_over):
        raise StillRunning("ask again in a moment", headers={"Retry-After": "2"})
    if known.fingerprint != fingerprint:
        raise KeyReused("use a new key for a request with another path or body")
    if known.status is None:
        raise AnswerLost("read the object, or look the request up in the audit log")
    return Answer(status=known.status, media_type=known.media_type, body=bytes(known.answer))


async def release(database: Database, given: Claim, *, is_refused: bool) -> None:
    """Gives a key back whose request failed. ``is_refused``: on purpose, so that nothing of it stands."""
    async with in_project(database, given.project_id) as session:
        await session.execute(_RELEASE, _about(given) | {"is_refused": is_refused})


@event.listens_for(WatchedSession, "after_flush")
def _notice(session: Session, flush: UOWTransaction) -> None:
    session.info[_HAS_CHANGES] = True


@event.listens_for(WatchedSession, "before_commit")
def _keep(session: Session) -> None:
    """With the act goes the word that it happened, and with the last of its transactions the answer."""
    act = current()
    if act is None or act.claim is None:
        return
    session.flush()
    if act.answer is not None:
        answer = {"status": act.answer.status, "media_type": act.answer.media_type, "body": act.answer.body}
        session.connection().execute(_ANSWERED, _about(act.claim) | answer)
    elif session.info.pop(_HAS_CHANGES, False):
        session.connection().execute(_ACTED, _about(act.claim))


def _about(given: Claim) -> dict[str, Any]:
    return {"project": ids.parsed(ids.PROJECT, given.project_id), "key": given.key, "claim": given.id}
