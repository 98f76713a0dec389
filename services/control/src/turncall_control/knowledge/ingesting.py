"""Reading a document: what is sent for it, and what its answer becomes."""

import asyncio
import hashlib
import sys
from array import array
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_blobs import keys
from turncall_control.calls import plans
from turncall_control.db.engine import bare
from turncall_control.jobs.lane import Connection, Due, Kind
from turncall_control.jobs.orders import INGEST
from turncall_control.knowledge.model import DICTIONARIES, DocumentRow, DocumentState, KnowledgeBaseRow
from turncall_control.knowledge.views import document_view
from turncall_control.plane import Plane
from turncall_control.webhooks.sessions import DOCUMENT_FAILED, DOCUMENT_READY
from turncall_control.webhooks.telling import tell
from turncall_proto import ids
from turncall_proto.ids import DocumentId
from turncall_proto.job import IngestDone, IngestJob, JobFailed
from turncall_proto.knowledge import CutDocument, CutPassage

MOST_PASSAGES: Final = 50_000
"""Of one base: so many are compared one by one in the time that a caller waits."""
AT_ONCE: Final = 200
"""Passages that one statement writes."""
FORGOTTEN_AFTER_S: Final = 30
INSERT: Final = """
    insert into knowledge_passages
        (document_id, ordinal, project_id, base_id, heading, page, text, words, embedding)
    values (%(document)s, %(ordinal)s, %(project)s, %(base)s, %(heading)s, %(page)s, %(text)s,
        array(
            select %(number)s::text || ':' || w.lexeme
            from unnest(to_tsvector(%(dictionary)s::regconfig, %(found_by)s)) w
        ),
        %(embedding)s::text::halfvec)
"""


async def plan(connection: Connection, plane: Plane, due: Due) -> IngestJob | None:
    """The document and how its base wants it read; None when it is gone."""
    if due.document_id is None:
        return None
    async with plane.database.system() as session:
        row = await session.get(DocumentRow, DocumentId(ids.written(ids.DOCUMENT, due.document_id)))
        if row is None:
            return None
        base = await session.get_one(KnowledgeBaseRow, row.base_id)
    wallet = await plane.wallets.open(row.project_id, connection)
    refs = () if base.embedder is None else (base.embedder,)
    return IngestJob(
        job_id=due.job_id,
        project_id=row.project_id,
        planned_at=datetime.now(UTC),
        **plans.sealed_keys(plane, row.project_id, wallet, refs),
        base_id=row.base_id,
        document_id=row.id,
        name=row.name,
        key="" if row.url else keys.original(row.project_id, row.base_id, row.id),
        url=row.url,
        content_type=row.content_type,
        cutting=base.cutting,
        embedder=base.embedder,
    )


async def take(
    connection: Connection, plane: Plane, due: Due, answer: IngestDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """What was read takes the place of what was read before, in one transaction; a document that is gone stays gone."""
    assert due.document_id is not None  # a reading is one of a document
    async with plane.database.system() as session, session.begin():
        document_id = DocumentId(ids.written(ids.DOCUMENT, due.document_id))
        row = await session.get(DocumentRow, document_id, with_for_update=True)
        if row is not None:
            await _read(session, plane, row, answer)
    return partial(_forget, plane, answer.key if isinstance(answer, IngestDone) else "")


async def _read(session: AsyncSession, plane: Plane, row: DocumentRow, answer: IngestDone | JobFailed) -> None:
    base = await session.get_one(KnowledgeBaseRow, row.base_id)
    row.is_being_read = False
    if isinstance(answer, IngestDone) and await _others(session, row) + answer.passages > MOST_PASSAGES:
        detail = f"With it the base would have more than {MOST_PASSAGES} passages"
        answer = JobFailed(
            job_id=answer.job_id, project_id=answer.project_id, at=answer.at, detail=detail, reason="base_full"
        )
    if isinstance(answer, JobFailed):
        if row.state is not DocumentState.READY:
            row.state = DocumentState.FAILED
        row.reason, row.failure = answer.reason or "given_up", answer.detail
    else:
        await _replace(await bare(session), base, row, await _cut(plane, answer))
        row.state, row.reason, row.failure, row.read_at = DocumentState.READY, "", "", answer.at
        row.characters, row.passages, row.dimensions = answer.characters, answer.passages, answer.dimensions
        row.embedder, row.size_bytes, row.content_type = answer.embedder, answer.size_bytes, answer.content_type
    await session.flush()
    await _tell(session, row, DOCUMENT_FAILED if isinstance(answer, JobFailed) else DOCUMENT_READY)


async def _tell(session: AsyncSession, row: DocumentRow, kind: str) -> None:
    await tell(session, row.project_id, None, kind, document_view(row))


async def _others(session: AsyncSession, row: DocumentRow) -> int:
    """How many passages the other documents of its base have."""
    statement = select(func.coalesce(func.sum(DocumentRow.passages), 0)).where(
        DocumentRow.base_id == row.base_id, DocumentRow.id != row.id
    )
    return (await session.scalar(statement)) or 0


async def _cut(plane: Plane, answer: IngestDone) -> CutDocument:
    body = await plane.blobs.read(answer.key)
    if hashlib.sha256(body).hexdigest() != answer.sha256:
        raise ValueError(f"{answer.key} is not what {answer.job_id} has stored")
    return msgspec.msgpack.decode(body, type=CutDocument)


async def _replace(connection: Connection, base: KnowledgeBaseRow, row: DocumentRow, whole: CutDocument) -> None:
    document = ids.parsed(ids.DOCUMENT, row.id)
    header: dict[str, Any] = {
        "document": document,
        "project": ids.parsed(ids.PROJECT, row.project_id),
        "base": ids.parsed(ids.KNOWLEDGE_BASE, row.base_id),
        "number": base.number,
        "dictionary": DICTIONARIES[base.language],
    }
    await connection.execute("delete from knowledge_passages where document_id = %s", (document,))
    async with connection.cursor() as cursor:
        for start in range(0, len(whole.passages), AT_ONCE):
            some = enumerate(whole.passages[start : start + AT_ONCE], start)
            await cursor.executemany(INSERT, [header | values(ordinal, passage) for ordinal, passage in some])
            await asyncio.sleep(0)  # vectors as text are work, and requests wait


def values(ordinal: int, passage: CutPassage) -> dict[str, Any]:
    """A passage as `INSERT` takes it, beside what all passages of its document have in common."""
    return {
        "ordinal": ordinal,
        "heading": passage.heading,
        "page": passage.page,
        "text": passage.text,
        "found_by": f"{passage.context}\n{passage.text}",
        "embedding": vector_text(passage.vector) if passage.vector else None,
    }


def vector_text(vector: bytes) -> str:
    """A vector as Postgres reads it. Four digits are what half precision keeps."""
    return f"[{','.join(f'{part:.5g}' for part in floats(vector))}]"


def floats(vector: bytes) -> array[float]:
    """A vector as it travels."""
    parts = array("f", vector)
    if sys.byteorder == "big":
        parts.byteswap()
    return parts


async def _forget(plane: Plane, key: str) -> None:
    """What was handed over is in the database. Should this fail, it goes with the document."""
    if key:
        await plane.blobs.delete(key)


async def give_up(session: AsyncSession) -> None:
    """Ends the wait for documents whose job is over without an answer, or was never ordered."""
    rows = await session.scalars(
        select(DocumentRow)
        .where(DocumentRow.is_being_read)
        .where(
            text(
                f"seen_at < now() - interval '{FORGOTTEN_AFTER_S} s' and not exists (select from jobs j"
                " where j.document_id = knowledge_documents.id and j.state in ('due', 'sent'))"
            )
        )
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    for row in rows.all():
        row.is_being_read = False
        if row.state is not DocumentState.READY:
            row.state = DocumentState.FAILED
        row.reason, row.failure = "given_up", "Nobody has read it"
        await session.flush()
        await _tell(session, row, DOCUMENT_FAILED)


KIND: Final = Kind(name=INGEST, answer=IngestDone, plan=plan, take=take)
