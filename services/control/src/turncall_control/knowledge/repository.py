"""Reading and writing knowledge bases and documents."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.db.base import owned
from turncall_control.db.engine import bare
from turncall_control.errors import NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_control.jobs import orders
from turncall_control.knowledge.model import DocumentRow, DocumentState, KnowledgeBaseRow, PassageRow
from turncall_proto import ids
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId


async def get(
    session: AsyncSession, project_id: ProjectId, base_id: KnowledgeBaseId, *, is_locked: bool = False
) -> KnowledgeBaseRow:
    """One base of the project. Raises `NotFound`. ``is_locked``: nobody adds to it or deletes it meanwhile."""
    statement = select(KnowledgeBaseRow).where(
        KnowledgeBaseRow.id == base_id, owned(KnowledgeBaseRow.project_id, project_id)
    )
    row = await session.scalar(statement.with_for_update() if is_locked else statement)
    if row is None:
        raise NotFound
    return row


async def page(
    session: AsyncSession, project_id: ProjectId, asked: PageAsked, name: str | None
) -> Sequence[KnowledgeBaseRow]:
    """A page of the project's bases, newest first."""
    statement = select(KnowledgeBaseRow).where(owned(KnowledgeBaseRow.project_id, project_id))
    if name is not None:
        statement = statement.where(KnowledgeBaseRow.name == name)
    return (await session.scalars(newest_first(statement, KnowledgeBaseRow.id, ids.KNOWLEDGE_BASE, asked))).all()


async def counts(
    session: AsyncSession, project_id: ProjectId, base_ids: Iterable[KnowledgeBaseId]
) -> dict[KnowledgeBaseId, tuple[int, int]]:
    """How many documents and passages each of the bases holds."""
    rows = await session.execute(
        select(DocumentRow.base_id, func.count(), func.coalesce(func.sum(DocumentRow.passages), 0))
        .where(DocumentRow.base_id.in_(list(base_ids)), owned(DocumentRow.project_id, project_id))
        .group_by(DocumentRow.base_id)
    )
    return {base_id: (documents, passages) for base_id, documents, passages in rows}


async def document(
    session: AsyncSession, project_id: ProjectId, base_id: KnowledgeBaseId, document_id: DocumentId
) -> DocumentRow:
    """One document of a base. Raises `NotFound`."""
    row = await session.scalar(
        select(DocumentRow).where(
            DocumentRow.id == document_id,
            DocumentRow.base_id == base_id,
            owned(DocumentRow.project_id, project_id),
        )
    )
    if row is None:
        raise NotFound
    return row


async def documents(
    session: AsyncSession, base: KnowledgeBaseRow, asked: PageAsked, state: DocumentState | None
) -> Sequence[DocumentRow]:
    """A page of a base's documents, newest first."""
    statement = select(DocumentRow).where(DocumentRow.base_id == base.id, DocumentRow.project_id == base.project_id)
    if state is not None:
        statement = statement.where(DocumentRow.state == state)
    return (await session.scalars(newest_first(statement, DocumentRow.id, ids.DOCUMENT, asked))).all()


async def passages(session: AsyncSession, row: DocumentRow, *, after: int, limit: int) -> Sequence[PassageRow]:
    """The passages of a document behind ``after``, in its order."""
    statement = (
        select(PassageRow)
        .where(PassageRow.document_id == row.id, PassageRow.project_id == row.project_id, PassageRow.ordinal > after)
        .order_by(PassageRow.ordinal)
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def order_reading(session: AsyncSession, row: DocumentRow) -> None:
    """Has a document read, unless it is being read already; what was read of it stays until then."""
    row.is_being_read = True
    row.seen_at = func.now()
    await session.flush()
    await orders.ingest(await bare(session), row.id)
    await session.refresh(row)


async def delete_documents(session: AsyncSession, rows: Iterable[DocumentRow]) -> None:
    """Deletes documents with everything that was made of them, and the jobs that are under way."""
    for row in rows:
        await session.execute(delete(PassageRow).where(PassageRow.document_id == row.id))
        await session.execute(
            text("delete from jobs where document_id = :id"), {"id": ids.parsed(ids.DOCUMENT, row.id)}
        )
        await session.delete(row)
    await session.flush()


async def all_documents(session: AsyncSession, base: KnowledgeBaseRow) -> Sequence[DocumentRow]:
    """Every document of a base."""
    statement = select(DocumentRow).where(DocumentRow.base_id == base.id, DocumentRow.project_id == base.project_id)
    return (await session.scalars(statement)).all()


async def agents_with(session: AsyncSession, base: KnowledgeBaseRow) -> int:
    """How many agents know of a base, in their drafts or published versions."""
    return (
        await session.scalar(
            text(
                "select count(distinct agent_id) from agent_versions where project_id = :project"
                " and state in ('draft', 'published') and config -> 'knowledge' @> cast(:link as jsonb)"
            ),
            {
                "project": ids.parsed(ids.PROJECT, base.project_id),
                "link": msgspec.json.encode([{"base_id": base.id}]).decode(),
            },
        )
    ) or 0
