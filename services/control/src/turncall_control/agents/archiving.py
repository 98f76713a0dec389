"""Taking an agent out of service, and back: an archived one answers no call until it is published again."""

from datetime import UTC, datetime
from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository
from turncall_control.agents.model import VersionState
from turncall_control.agents.schemas import AgentView
from turncall_control.agents.views import current_view
from turncall_control.auth import Caller, Finds, Permission, in_path, needs
from turncall_proto import ids
from turncall_proto.ids import AgentId

_AGENT: Final[Finds] = in_path("agent_id", ids.AGENT)
_WRITE: Final = Permission.AGENTS_WRITE


@post("/v1/agents/{agent_id:str}/archive", status_code=200, tags=["agents"], opt=needs(_WRITE, _AGENT))
async def archive_agent(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], agent_id: FromPath[str]
) -> AgentView:
    """Archives the agent and its published version: no call reaches it from the next one on; live ones go on.

    Numbers that name it give their callers to the fallback. A repeat changes nothing.
    """
    agent = await repository.lock(session, caller.project_id, AgentId(agent_id))
    published = (await repository.current(session, agent)).get(VersionState.PUBLISHED)
    now = datetime.now(UTC)
    if published is not None:
        published.state, published.archived_at = VersionState.ARCHIVED, now
    agent.archived_at = agent.archived_at or now
    await session.flush()
    return await current_view(session, agent)


@post("/v1/agents/{agent_id:str}/unarchive", status_code=200, tags=["agents"], opt=needs(_WRITE, _AGENT))
async def unarchive_agent(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], agent_id: FromPath[str]
) -> AgentView:
    """Takes the agent out of the archive. It answers calls once a version is published or restored."""
    agent = await repository.lock(session, caller.project_id, AgentId(agent_id))
    agent.archived_at = None
    await session.flush()
    return await current_view(session, agent)
