"""Ordering a job, in the transaction of whatever causes it."""

from typing import LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from turncall_proto import ids
from turncall_proto.ids import CallId, DocumentId, JobId, SessionId

ANALYSIS = "analysis"
INGEST = "ingest"


async def analysis(connection: AsyncConnection[TupleRow], call_id: CallId) -> JobId | None:
    """Orders the analysis of a call whose agent asks for one and on which somebody spoke; None for any other, and for
    calls of tests.

    One that is under way already is the answer for whoever asks again.
    """
    return await _analysis(
        connection,
        "call_id",
        ids.parsed(ids.CALL, call_id),
        table="calls",
        spoken="select from call_events e where e.call_id = o.id and e.type = 'transcript.final' and o.mocks is null",
    )


async def ingest(connection: AsyncConnection[TupleRow], document_id: DocumentId) -> None:
    """Orders that a document be read, unless it is being read already."""
    await connection.execute(
        "insert into jobs (id, project_id, kind, document_id)"
        " select %s, project_id, 'ingest', id from knowledge_documents where id = %s"
        " on conflict (kind, document_id) where state in ('due', 'sent') do nothing",
        (ids.parsed(ids.JOB, ids.mint(ids.JOB)), ids.parsed(ids.DOCUMENT, document_id)),
    )


async def session_analysis(connection: AsyncConnection[TupleRow], session_id: SessionId) -> JobId | None:
    """Orders the analysis of a session, as `analysis` does of a call: one in which the contact wrote something."""
    return await _analysis(
        connection,
        "session_id",
        ids.parsed(ids.SESSION, session_id),
        table="sessions",
        spoken="select from messages m where m.session_id = o.id and m.author = 'contact'",
    )


async def _analysis(
    connection: AsyncConnection[TupleRow],
    column: LiteralString,
    row_id: UUID,
    *,
    table: LiteralString,
    spoken: LiteralString,
) -> JobId | None:
    """``table`` is read as ``o``; ``spoken`` selects what must be there to be analysed."""
    cursor = await connection.execute(
        f"""
        with made as (
            insert into jobs (id, project_id, kind, {column})
            select %(job)s, o.project_id, 'analysis', o.id
            from {table} o left join agent_versions v on v.id = o.version_id
            where o.id = %(of)s and jsonb_typeof(coalesce(o.inline_agent, v.config) -> 'analysis') = 'object'
                and exists ({spoken})
            on conflict (kind, {column}) where state in ('due', 'sent') do nothing
            returning id
        )
        select id from made
        union all
        select id from jobs where kind = 'analysis' and {column} = %(of)s and state in ('due', 'sent')
        limit 1
        """,
        {"job": ids.parsed(ids.JOB, ids.mint(ids.JOB)), "of": row_id},
    )
    row = await cursor.fetchone()
    return None if row is None else JobId(ids.written(ids.JOB, row[0]))
