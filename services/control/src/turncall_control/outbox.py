"""Changes of configuration on their way to every replica: noted by the transaction that makes them.

A session that changes a row which some cache is made of leaves a row in the outbox with it, so that news is told of
exactly what was committed. `changes` carries it on.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct
from sqlalchemy import BigInteger, Identity, Index, event, insert
from sqlalchemy.orm import Mapped, Session, UOWTransaction, mapped_column

from turncall_control.db.base import Id, Row, created_at
from turncall_control.db.engine import WatchedSession
from turncall_proto import ids
from turncall_proto.ids import ProjectId

Kind = Literal["key", "project", "credentials", "agent", "number"]


class Changed(Struct, frozen=True, kw_only=True):
    """Something is not what a cache may take it for. A repeat, and one that comes too late, do no harm."""

    kind: Kind
    project_id: ProjectId
    object_id: str


_OF_TABLE: Final[Mapping[str, tuple[Kind, Callable[[Any], tuple[ProjectId, str]]]]] = {
    "api_keys": ("key", lambda row: (row.project_id, row.id)),
    "projects": ("project", lambda row: (row.id, row.id)),
    "credentials": ("credentials", lambda row: (row.project_id, row.project_id)),
    "signing_secrets": ("credentials", lambda row: (row.project_id, row.project_id)),
    "agents": ("agent", lambda row: (row.project_id, row.id)),
    "agent_versions": ("agent", lambda row: (row.project_id, row.agent_id)),
    "numbers": ("number", lambda row: (row.project_id, row.id)),
}


class OutboxRow(Row):
    """One change that is not told yet."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    kind: Mapped[str]
    object_id: Mapped[str]
    created_at: Mapped[datetime] = created_at()


@event.listens_for(WatchedSession, "after_flush")
def _note(session: Session, flush: UOWTransaction) -> None:
    rows = [row for row in (*session.new, *session.deleted) if _is_told(row)]
    rows += [row for row in session.dirty if _is_told(row) and session.is_modified(row)]
    if noted := list(_noted(rows)):
        session.connection().execute(
            insert(OutboxRow),
            [{"project_id": change.project_id, "kind": change.kind, "object_id": change.object_id} for change in noted],
        )


def _is_told(row: object) -> bool:
    return getattr(row, "__tablename__", "") in _OF_TABLE


def _noted(rows: Iterable[Any]) -> Iterable[Changed]:
    """Each change once, in order."""
    found: dict[Changed, None] = {}
    for row in rows:
        kind, names = _OF_TABLE[row.__tablename__]
        project_id, object_id = names(row)
        found[Changed(kind=kind, project_id=project_id, object_id=object_id)] = None
    return found
