"""From rows of agents and versions to what the API shows."""

from msgspec import convert
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository
from turncall_control.agents.model import AgentRow, VersionRow, VersionState
from turncall_control.agents.schemas import AgentView, VersionView


async def current_view(session: AsyncSession, agent: AgentRow) -> AgentView:
    """An agent with its draft and its published version, as far as there are."""
    versions = await repository.current(session, agent)
    return agent_view(agent, versions.get(VersionState.DRAFT), versions.get(VersionState.PUBLISHED))


def agent_view(agent: AgentRow, draft: VersionRow | None, published: VersionRow | None) -> AgentView:
    """An agent with these versions."""
    return AgentView(
        id=agent.id,
        name=agent.name,
        environment=agent.environment,
        max_concurrent_calls=agent.max_concurrent_calls,
        created_at=agent.created_at,
        archived_at=agent.archived_at,
        draft=None if draft is None else version_view(draft),
        published=None if published is None else version_view(published),
    )


def version_view(row: VersionRow) -> VersionView:
    """One version."""
    return convert(row, VersionView, from_attributes=True)
