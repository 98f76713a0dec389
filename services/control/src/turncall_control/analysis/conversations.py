"""A conversation that is over, gathered to be read: what was said or written, the tools, how it ended."""

from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import dict_row

from turncall_control.jobs.lane import Connection, Due
from turncall_control.settings import DEFAULT_LANGUAGE_OF_P, speaking
from turncall_proto.agent import AgentSpec
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal
from turncall_proto.job import Said, ToolUsed, Used

_READ: Final = msgspec.json.Decoder(TranscriptFinal | ToolCalled | ToolReturned)


class Conversation(Struct, frozen=True, kw_only=True):
    """All that is known of it; nothing of it is cut."""

    agent: AgentSpec
    said: tuple[Said, ...]
    used: tuple[Used, ...]
    ended_reason: str
    duration_ms: int
    is_written: bool


async def gathered(connection: Connection, due: Due) -> Conversation | None:
    """The call or the session that a job is about; None when it or its agent is gone."""
    return await (_of_session(connection, due) if due.call_id is None else _of_call(connection, due))


async def _of_call(connection: Connection, due: Due) -> Conversation | None:
    row = await _row(
        connection,
        f"select c.ended_reason, coalesce(c.inline_agent, v.config) as config, {DEFAULT_LANGUAGE_OF_P} as language,"
        " coalesce(extract(epoch from c.ended_at - c.answered_at) * 1000, 0)::int as lasted_ms"
        " from calls c join projects p on p.id = c.project_id"
        " left join agent_versions v on v.id = c.version_id where c.id = %s",
        due.call_id,
    )
    if row.get("config") is None:
        return None
    said, used = await _spoken(connection, due)
    return Conversation(
        agent=speaking(msgspec.convert(row["config"], AgentSpec), row["language"]),
        said=said,
        used=used,
        ended_reason=row["ended_reason"] or "",
        duration_ms=row["lasted_ms"],
        is_written=False,
    )


async def _of_session(connection: Connection, due: Due) -> Conversation | None:
    row = await _row(
        connection,
        "select s.state, s.created_at, coalesce(s.inline_agent, v.config) as config,"
        f" {DEFAULT_LANGUAGE_OF_P} as language"
        " from sessions s join projects p on p.id = s.project_id"
        " left join agent_versions v on v.id = s.version_id where s.id = %s",
        due.session_id,
    )
    if row.get("config") is None:
        return None
    cursor = await connection.execute(
        "select author, text, tools::text, (extract(epoch from created_at - %s) * 1000)::int from messages"
        " where session_id = %s order by seq",
        (row["created_at"], due.session_id),
    )
    said, used = list[Said](), list[Used]()
    for author, text, tools, at_ms in await cursor.fetchall():
        said.append(Said(speaker="caller" if author == "contact" else "agent", text=text, start_ms=max(0, at_ms)))
        used += [
            Used(tool=one.tool, arguments=one.arguments, is_ok=one.is_ok, output=one.output)
            for one in msgspec.json.decode(tools, type=tuple[ToolUsed, ...])
        ]
    return Conversation(
        agent=speaking(msgspec.convert(row["config"], AgentSpec), row["language"]),
        said=tuple(said),
        used=tuple(used),
        ended_reason=row["state"],
        duration_ms=said[-1].start_ms if said else 0,
        is_written=True,
    )


async def _row(connection: Connection, query: LiteralString, key: UUID | None) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, (key,))
        return await cursor.fetchone() or {}


async def _spoken(connection: Connection, due: Due) -> tuple[tuple[Said, ...], tuple[Used, ...]]:
    cursor = await connection.execute(
        "select payload::text from call_events where call_id = %s"
        " and type in ('transcript.final', 'tool.called', 'tool.result') order by call_seq",
        (due.call_id,),
    )
    facts = [_READ.decode(payload) for (payload,) in await cursor.fetchall()]
    spoken = sorted(
        (fact for fact in facts if isinstance(fact, TranscriptFinal)),
        key=lambda fact: (fact.epoch, fact.start_ms, fact.seq),
    )
    results = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolReturned)}
    called = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolCalled)}
    said = tuple(Said(speaker=fact.speaker, text=fact.text, start_ms=fact.start_ms) for fact in spoken)
    return said, tuple(_used(fact, results.get(fact.tool_call_id)) for fact in called.values())


def _used(called: ToolCalled, returned: ToolReturned | None) -> Used:
    return Used(
        tool=called.tool,
        arguments=called.arguments,
        is_ok=None if returned is None else returned.is_ok,
        output=None if returned is None else returned.output,
    )
