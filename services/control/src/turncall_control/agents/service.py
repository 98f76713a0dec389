"""The life of an agent's versions: drafted, published, archived, restored.

Every change locks the agent's row first, so two of them follow each other; the unique indexes stand underneath.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository
from turncall_control.agents.check import check
from turncall_control.agents.model import AgentRow, VersionRow, VersionState
from turncall_control.errors import Conflict
from turncall_control.vendors.catalogue import Catalogue, missing_keys
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, ProjectId, VersionId


class VendorKeyMissing(Conflict):
    """The agent uses a vendor whose key neither the project nor the installation holds."""

    name, title = "vendor-key-missing", "A vendor's key is missing"


class NothingToPublish(Conflict):
    """The agent has no draft: it was published already, perhaps by another request a moment ago."""

    name, title = "nothing-to-publish", "There is no draft to publish"


class AgentArchived(Conflict):
    """An archived agent is neither changed nor published until it is unarchived."""

    name, title = "agent-archived", "The agent is archived"


class NotArchived(Conflict):
    """Only an archived version can be restored."""

    name, title = "not-archived", "The version is not archived"


async def lock_in_service(session: AsyncSession, project_id: ProjectId, agent_id: AgentId) -> AgentRow:
    """The agent's row, locked. Raises `NotFound` and `AgentArchived`."""
    agent = await repository.lock(session, project_id, agent_id)
    if agent.archived_at is not None:
        raise AgentArchived("unarchive it first")
    return agent


async def put_draft(session: AsyncSession, project_id: ProjectId, agent_id: AgentId, config: AgentSpec) -> VersionRow:
    """The agent's draft with this config; a new one, under the next number, when the last one was published.

    Raises `AgentArchived`.
    """
    agent = await lock_in_service(session, project_id, agent_id)
    draft = (await repository.current(session, agent)).get(VersionState.DRAFT)
    if draft is None:
        return await repository.add_version(session, agent, config)
    draft.config = config
    await session.flush()
    return draft


async def publish(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId, vendors: Catalogue, held_keys: Collection[str]
) -> VersionRow:
    """Makes the draft what answers calls and archives what did.

    Raises `AgentArchived`, `NothingToPublish`, `VendorKeyMissing`.
    """
    agent = await lock_in_service(session, project_id, agent_id)
    versions = await repository.current(session, agent)
    draft = versions.get(VersionState.DRAFT)
    if draft is None:
        raise NothingToPublish("the agent has no draft; put one first")
    await _put_live(session, versions.get(VersionState.PUBLISHED), draft, vendors, held_keys)
    return draft


async def restore(
    session: AsyncSession,
    project_id: ProjectId,
    agent_id: AgentId,
    version_id: VersionId,
    vendors: Catalogue,
    held_keys: Collection[str],
) -> VersionRow:
    """Makes an archived version answer calls again and archives what did.

    Raises `AgentArchived`, `NotArchived`, `VendorKeyMissing`.
    """
    agent = await lock_in_service(session, project_id, agent_id)
    version = await repository.get_version(session, project_id, agent_id, version_id)
    if version.state is not VersionState.ARCHIVED:
        raise NotArchived(f"version {version.number} is {version.state}")
    versions = await repository.current(session, agent)
    await _put_live(session, versions.get(VersionState.PUBLISHED), version, vendors, held_keys)
    return version


async def _put_live(
    session: AsyncSession,
    live: VersionRow | None,
    successor: VersionRow,
    vendors: Catalogue,
    held_keys: Collection[str],
) -> None:
    check(vendors, successor.config)
    await repository.check_links(session, successor.project_id, successor.config)
    if missing := missing_keys(vendors, successor.config, held_keys):
        raise VendorKeyMissing(f"neither this project nor this installation holds a key for {', '.join(missing)}")
    now = datetime.now(UTC)
    if live is not None:
        live.state, live.archived_at = VersionState.ARCHIVED, now
        # Before its successor: the index allows one published version at any moment.
        await session.flush()
    successor.state, successor.published_at, successor.archived_at = VersionState.PUBLISHED, now, None
