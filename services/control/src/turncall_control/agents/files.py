"""An agent as one file: what `export` gives is what `import` takes, also in another project or installation."""

from collections.abc import Collection
from typing import Literal

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository, service
from turncall_control.agents.model import AgentRow, VersionState
from turncall_control.agents.schemas import AgentFile
from turncall_control.errors import NotFound
from turncall_control.vendors.catalogue import Catalogue
from turncall_proto.changes import ConfigChange, changes
from turncall_proto.ids import AgentId, ProjectId


class Applied(Struct, frozen=True, kw_only=True):
    """What applying a file did, or would do."""

    agent: AgentRow | None
    outcome: Literal["created", "changed", "unchanged"]
    publishes: bool
    changes: tuple[ConfigChange, ...]


async def export(session: AsyncSession, project_id: ProjectId, agent_id: AgentId, state: VersionState) -> AgentFile:
    """The agent with the config of its draft or of its published version. Raises `NotFound`."""
    agent = await repository.get(session, project_id, agent_id)
    version = (await repository.current(session, agent)).get(state)
    if version is None:
        raise NotFound(f"the agent has no {state} version")
    return AgentFile(name=agent.name, environment=agent.environment, config=version.config)


async def apply(
    session: AsyncSession,
    project_id: ProjectId,
    file: AgentFile,
    vendors: Catalogue,
    held_keys: Collection[str],
    *,
    publish: bool,
    dry_run: bool,
) -> Applied:
    """Brings the agent of the file's name and environment to the file's config; a second time changes nothing.

    With ``publish`` what answers calls is brought there, and otherwise the draft, which stays unwritten while what
    answers calls says the same. Raises what `service.publish` raises.
    """
    agent = await repository.named(session, project_id, file.name, file.environment)
    versions = {} if agent is None else await repository.current(session, agent)
    live = versions.get(VersionState.PUBLISHED)
    judged = live if publish else versions.get(VersionState.DRAFT, live)
    if judged is not None and judged.config == file.config:
        return Applied(agent=agent, outcome="unchanged", publishes=False, changes=())
    differs = () if judged is None else changes(judged.config, file.config)
    if not dry_run:
        if agent is None:
            agent = await repository.add(session, project_id, file.name, file.environment)
        await service.put_draft(session, project_id, agent.id, file.config)
        if publish:
            await service.publish(session, project_id, agent.id, vendors, held_keys)
    outcome: Literal["created", "changed"] = "changed" if versions else "created"
    return Applied(agent=agent, outcome=outcome, publishes=publish, changes=differs)
