"""Telling subscribers what belongs to no call, in the transaction in which it happens."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_proto import ids
from turncall_proto.ids import AgentId, ProjectId


async def tell(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId | None, kind: str, data: msgspec.Struct
) -> None:
    """Queues an event for the subscriptions that want it; those of one agent's want what is about that agent."""
    await session.execute(
        text(
            "insert into webhook_deliveries (project_id, webhook_id, type, at, data)"
            " select project_id, id, cast(:kind as text), now(), cast(:data as jsonb) from webhooks"
            " where project_id = :project and is_enabled and (event_types = '{}' or :kind = any(event_types))"
            " and (agent_id is null or agent_id = cast(:agent as uuid))"
        ),
        {
            "kind": kind,
            "data": msgspec.json.encode(data).decode(),
            "project": ids.parsed(ids.PROJECT, project_id),
            "agent": None if agent_id is None else ids.parsed(ids.AGENT, agent_id),
        },
    )
