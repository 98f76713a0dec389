"""A call enters: its row, its first epoch, its first facts and their deliveries, by one statement."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from turncall_control.calls.facts import Fact
from turncall_control.calls.ledger import Appended, Connection, Ledger, Page, call_row
from turncall_control.calls.state import Standing
from turncall_control.routing import Decision
from turncall_control.webhooks.fanout import EVENT_TYPES_ARRAY, subscribed
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.call import Channel
from turncall_proto.ids import CallId, ProjectId, WorkerId


class Entrant(Struct, frozen=True, kw_only=True):
    """What a row of ``calls`` says of an inbound call from its first moment on.

    ``worker`` holds a slot for its first epoch, and ``answer`` leads the carrier there; without them the call waits.
    """

    id: UUID
    project_id: UUID
    agent_id: UUID | None
    version_id: UUID | None
    inline_agent: AgentSpec | None
    variant: str | None
    variables: Mapping[str, str]
    metadata: Mapping[str, str]
    knowledge_context: str
    routing: Decision | None
    number_id: UUID
    channel: Channel
    from_number: str
    to_number: str
    provider: str
    account: str
    provider_call_id: str
    created_at: datetime
    is_counted: bool
    worker: WorkerId | None = None
    answer: str | None = None


_ENTER: Final[LiteralString] = (
    """
    with made as (
        insert into calls (id, project_id, agent_id, version_id, inline_agent, variant, variables, metadata,
            knowledge_context, routing, number_id, channel, direction, from_number, to_number, provider, account,
            provider_call_id, created_at, is_counted, answer, status, epoch, live_mark, control_seq, event_count)
        select id, project_id, agent_id, version_id, inline_agent, variant, variables, metadata,
            knowledge_context, routing, number_id, channel, 'inbound', from_number, to_number, provider, account,
            provider_call_id, created_at, is_counted, answer, status, epoch, live_mark, control_seq, event_count
        from json_to_record(%s::json) as told (
            id uuid, project_id uuid, agent_id uuid, version_id uuid, inline_agent jsonb, variant text, variables jsonb,
            metadata jsonb, knowledge_context text, routing jsonb, number_id uuid, channel text, from_number text,
            to_number text, provider text, account text, provider_call_id text, created_at timestamptz,
            is_counted boolean, answer text),
        json_to_record(%s::json) as folded (
            status text, epoch int, live_mark int[], control_seq int, event_count int)
        on conflict do nothing
        returning id, project_id, agent_id, epoch
    ),
    placed as (
        insert into epochs (call_id, project_id, epoch, worker)
        select id, project_id, epoch, %s::text from made where epoch > 0
    ),
    stored as (
        insert into call_events (call_id, project_id, epoch, seq, call_seq, type, at, payload)
        select call_id, new.project_id, new.epoch, seq, call_seq, type, at, payload
        from made, json_to_recordset(%s::json) as new (
            call_id uuid, project_id uuid, epoch int, seq int, call_seq int, type text, at timestamptz, payload jsonb)
        returning project_id, call_id, call_seq, type, at
    ),
    """
    + subscribed("(select agent_id from made)")
    + " select count(*) from made"
)
"""No part sees the rows that another one makes, so those who subscribed to an agent's calls are found by ``made``."""


async def enter(connection: Connection, entrant: Entrant, facts: Sequence[Fact]) -> Appended | None:
    """Makes a call and states its first facts; None, and nothing is changed, when the call has a row already.

    Needs no transaction of the caller's: a statement is one. Until that ends, others who make this call wait.
    """
    page = Page(_unstated(entrant))
    for fact in facts:
        page.write(fact)
    cursor = await connection.execute(
        _ENTER,
        (
            msgspec.json.encode(entrant).decode(),
            msgspec.json.encode(call_row(page.call, page.ledger)).decode(),
            entrant.worker,
            msgspec.json.encode(page.rows()).decode(),
            EVENT_TYPES_ARRAY,
        ),
    )
    if await cursor.fetchone() != (1,):
        return None
    call_id = page.ledger.call_id
    return Appended(ledgers={call_id: page.ledger}, facts={call_id: page.facts})


def _unstated(entrant: Entrant) -> Ledger:
    """The call before its first fact; with a worker it is in its first epoch."""
    standing = Standing()
    return Ledger(
        call_id=CallId(ids.written(ids.CALL, entrant.id)),
        project_id=ProjectId(ids.written(ids.PROJECT, entrant.project_id)),
        provider=entrant.provider,
        account=entrant.account,
        provider_call_id=entrant.provider_call_id,
        standing=standing if entrant.worker is None else replace(standing, epoch=1),
        control_seq=0,
        event_count=0,
        over_at=None,
        concluded_at=None,
        settled_at=None,
    )
