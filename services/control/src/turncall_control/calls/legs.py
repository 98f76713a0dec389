"""A phone call as a leg of a session: what was said on it joins what was written, and the other way round.

A session is found by project, agent and contact. It begins when somebody writes; then the calls of the day before join
it, and later ones do when they are concluded. A contact who only calls has none.
"""

from typing import Final, LiteralString
from uuid import UUID

from turncall_control.calls.ledger import Connection
from turncall_proto import ids
from turncall_proto.ids import AgentId, CallId, ProjectId, SessionId

BEFORE: Final[LiteralString] = "interval '24 hours'"
"""Calls so long before a session's first message belong to it."""
MOST_CHARACTERS: Final = 6_000
"""Of what was said before, the newest: what a caller's agent is told."""
MOST_MESSAGES: Final = 60
_EARLIER: Final = "What this person and you have said to each other before, in writing and on the phone:\n"
_MEANWHILE: Final = "At this moment this person is on the phone with you. What was said there so far:\n"
_SPEAKERS: Final = {"caller": "contact", "contact": "contact", "agent": "you", "operator": "you"}

CONTACT_OF_CALL: Final[LiteralString] = "case when c.direction = 'inbound' then c.from_number else c.to_number end"
SESSION_OF_CALL: Final[LiteralString] = (
    "(select s.id from sessions s where s.project_id = c.project_id and s.agent_id = c.agent_id"
    f" and s.contact = {CONTACT_OF_CALL} and s.state = 'active' and s.expires_at > now()"
    " order by s.expires_at desc limit 1)"
)
"""An expression for the living session that a call ``c`` is a leg of."""
_JOIN: Final[LiteralString] = """
    with leg as (
        insert into session_calls (call_id, session_id, project_id)
        select c.id, s.id, s.project_id from calls c join sessions s on s.id = %(session)s where c.id = %(call)s
        on conflict do nothing returning call_id
    ),
    said as (
        insert into messages (session_id, seq, id, project_id, author, text, channel, number_id, call_id, created_at)
        select s.id, s.message_count + row_number() over (order by e.epoch, (e.payload ->> 'start_ms')::int, e.seq),
            uuidv7(), s.project_id, case e.payload ->> 'speaker' when 'caller' then 'contact' else 'agent' end,
            e.payload ->> 'text', 'phone', c.number_id, c.id, e.at
        from leg join calls c on c.id = leg.call_id join sessions s on s.id = %(session)s
        join call_events e on e.call_id = c.id and e.type = 'transcript.final'
        returning 1
    )
    update sessions set message_count = message_count + (select count(*) from said),
        expires_at = greatest(expires_at, (select coalesce(c.ended_at, now()) from calls c where c.id = %(call)s)
            + interval '24 hours')
    where id = %(session)s and exists (select from leg)
"""


_UNSPOKEN: Final[LiteralString] = """
    with unanswered as (update sessions s set answered_through = least(s.answered_through, m.seq - 1) from messages m
    where m.session_id = s.id and m.told_on = %(call)s and not exists (
        select from call_events told join call_events said on said.call_id = told.call_id
            and said.type = 'transcript.final' and said.payload ->> 'speaker' = 'agent'
            and said.at - ((said.payload ->> 'end_ms')::int - (said.payload ->> 'start_ms')::int) * interval '1 ms'
                >= told.at
        where told.call_id = %(call)s and told.type = 'command.done'
            and told.payload ->> 'command_id' = 'msg_' || replace(m.id::text, '-', '')) returning s.id, s.project_id)
    insert into jobs (id, project_id, kind, session_id) select uuidv7(), project_id, 'text_turn', id from unanswered
    on conflict (kind, session_id) where state in ('due', 'sent') do nothing
"""
"""What was written during a call whose agent began to say nothing after it was told is answered in writing."""


async def conclude(connection: Connection, call_id: CallId) -> None:
    """A call that is over joins the living session of its contact with its agent, if there is one. Once."""
    call = ids.parsed(ids.CALL, call_id)
    await connection.execute(_UNSPOKEN, {"call": call})
    cursor = await connection.execute(
        f"select id from sessions where id = (select {SESSION_OF_CALL} from calls c where c.id = %s) for update",
        (call,),
    )
    row = await cursor.fetchone()
    if row is not None:
        await connection.execute(_JOIN, {"session": row[0], "call": call})


async def begin(connection: Connection, session_id: SessionId) -> None:
    """What the contact of a new session has said to its agent on the phone lately comes first in it."""
    session = ids.parsed(ids.SESSION, session_id)
    cursor = await connection.execute(
        "select c.id from sessions s join calls c on c.project_id = s.project_id and c.agent_id = s.agent_id"
        " and (c.from_number = s.contact or c.to_number = s.contact)"
        f" and s.contact = {CONTACT_OF_CALL} and c.concluded_at > s.created_at - {BEFORE}"
        " and not exists (select from session_calls k where k.call_id = c.id)"
        " where s.id = %s order by c.created_at",
        (session,),
    )
    for (call,) in await cursor.fetchall():
        await connection.execute(_JOIN, {"session": session, "call": call})


async def memory(connection: Connection, session: UUID | None) -> str:
    """What an agent is told, at the beginning of a call, of the session that the call is a leg of."""
    if session is None:
        return ""
    cursor = await connection.execute("select summary from sessions where id = %s", (session,))
    row = await cursor.fetchone()
    if row is None:
        return ""
    cursor = await connection.execute(
        "select author, text from messages where session_id = %s and seq > (select summarised_through from sessions"
        " where id = %s) order by created_at desc, seq desc limit %s",
        (session, session, MOST_MESSAGES),
    )
    lines = _lines(await cursor.fetchall())
    return _EARLIER + "\n".join(filter(None, (row[0], *lines))) if row[0] or lines else ""


async def on_the_phone(connection: Connection, project_id: ProjectId, agent_id: AgentId | None, contact: str) -> str:
    """What is being said in calls of a contact with an agent that go on: for who answers in writing meanwhile."""
    if agent_id is None:
        return ""
    cursor = await connection.execute(
        "select e.payload ->> 'speaker', e.payload ->> 'text' from calls c join call_events e on e.call_id = c.id"
        " and e.type = 'transcript.final' where c.project_id = %(project)s and c.agent_id = %(agent)s"
        f" and (c.from_number = %(contact)s or c.to_number = %(contact)s) and {CONTACT_OF_CALL} = %(contact)s"
        f" and c.concluded_at is null and c.created_at > now() - {BEFORE}"
        " order by e.epoch desc, (e.payload ->> 'start_ms')::int desc, e.seq desc limit %(most)s",
        {
            "project": ids.parsed(ids.PROJECT, project_id),
            "agent": ids.parsed(ids.AGENT, agent_id),
            "contact": contact,
            "most": MOST_MESSAGES,
        },
    )
    lines = _lines(await cursor.fetchall())
    return _MEANWHILE + "\n".join(lines) if lines else ""


def _lines(newest_first: list[tuple[str, str]]) -> list[str]:
    """Who said what, oldest first, as far back as there is room for."""
    lines: list[str] = []
    room = MOST_CHARACTERS
    for speaker, text in newest_first:
        line = f"{_SPEAKERS[speaker]}: {text}"
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    return lines[::-1]
