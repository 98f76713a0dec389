"""Ordering a job, in the transaction of whatever causes it."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from turncall_proto import ids
from turncall_proto.ids import CallId, DocumentId, JobId, SessionId

ANALYSIS = "analysis"
INGEST = "ingest"


async def analysis(connection: AsyncConnection[TupleRow], call_id: CallId) -> JobId | None:
    """Orders the analysis of a call whose agent asks for one and on which somebody spoke; None for any other.

    One that is under way already is the answer for whoever asks again.
    """
    cursor = await connection.execute(
        """
        with made as (
            insert into jobs (id, project_id, kind, call_id)
            select %(job)s, c.project_id, 'analysis', c.id
            from calls c left join agent_versions v on v.id = c.version_id
            where c.id = %(call)s and jsonb_typeof(coalesce(c.inline_agent, v.config) -> 'analysis') = 'object'
                and exists (select from call_events e where e.call_id = c.id and e.type = 'transcript.final')
            on conflict (kind, call_id) where state in ('due', 'sent') do nothing
            returning id
        )
        select id from made
        union all
        select id from jobs where kind = 'analysis' and call_id = %(call)s and state in ('due', 'sent')
        limit 1
        """,
        {"job": ids.parsed(ids.JOB, ids.mint(ids.JOB)), "call": ids.parsed(ids.CALL, call_id)},
    )
    row = await cursor.fetchone()
    return None if row is None else JobId(ids.written(ids.JOB, row[0]))


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
    cursor = await connection.execute(
        """
        with made as (
            insert into jobs (id, project_id, kind, session_id)
            select %(job)s, s.project_id, 'analysis', s.id
            from sessions s left join agent_versions v on v.id = s.version_id
            where s.id = %(session)s and jsonb_typeof(coalesce(s.inline_agent, v.config) -> 'analysis') = 'object'
                and exists (select from messages m where m.session_id = s.id and m.author = 'contact')
            on conflict (kind, session_id) where state in ('due', 'sent') do nothing
            returning id
        )
        select id from made
        union all
        select id from jobs where kind = 'analysis' and session_id = %(session)s and state in ('due', 'sent')
        limit 1
        """,
        {"job": ids.parsed(ids.JOB, ids.mint(ids.JOB)), "session": ids.parsed(ids.SESSION, session_id)},
    )
    row = await cursor.fetchone()
    return None if row is None else JobId(ids.written(ids.JOB, row[0]))
