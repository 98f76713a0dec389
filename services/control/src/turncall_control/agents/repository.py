"""Reading and writing agents and their versions."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents.model import AgentRow, Environment, VersionRow, VersionState
from turncall_control.db.base import owned
from turncall_control.errors import Fault, Invalid, NotFound
from turncall_control.http.paging import PageAsked, newest_first
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, ProjectId, VersionId


async def add(session: AsyncSession, project_id: ProjectId, name: str, environment: Environment) -> AgentRow:
    """A new agent, without versions."""
    row = AgentRow(id=AgentId(ids.mint(ids.AGENT)), project_id=project_id, name=name, environment=environment)
    session.add(row)
    await session.flush()
    return row


async def check_bases(session: AsyncSession, project_id: ProjectId, spec: AgentSpec) -> None:
    """Raises `Invalid` for a link to a knowledge base that the project does not have."""
    wanted = {link.base_id: index for index, link in reversed(list(enumerate(spec.knowledge)))}
    if not wanted:
        return
    rows = await session.scalars(
        text("select id from knowledge_bases where project_id = :project and id = any(:bases)"),
        {
            "project": ids.parsed(ids.PROJECT, project_id),
            "bases": [ids.parsed(ids.KNOWLEDGE_BASE, base_id) for base_id in wanted],
        },
    )
    there = {ids.written(ids.KNOWLEDGE_BASE, key) for key in rows}
    faults = [
        Fault(field=f"config.knowledge[{index}].base_id", message="There is no such knowledge base in this project")
        for base_id, index in sorted(wanted.items(), key=lambda one: one[1])
        if base_id not in there
    ]
    if faults:
        raise Invalid(faults=faults)


async def check_links(session: AsyncSession, project_id: ProjectId, spec: AgentSpec) -> None:
    """Raises `Invalid` for what an agent names and its project does not have."""
    await check_bases(session, project_id, spec)
    await check_takeaways(session, project_id, spec)


async def check_takeaways(session: AsyncSession, project_id: ProjectId, spec: AgentSpec) -> None:
    """Raises `Invalid` for a takeaway that the project does not have."""
    names = () if spec.analysis is None else spec.analysis.takeaways
    if not names:
        return
    rows = await session.scalars(
        text("select name from takeaways where project_id = :project and name = any(:names)"),
        {"project": ids.parsed(ids.PROJECT, project_id), "names": list(names)},
    )
    there = set(rows)
    faults = [
        Fault(field=f"config.analysis.takeaways[{index}]", message="There is no such takeaway in this project")
        for index, name in enumerate(names)
        if name not in there
    ]
    if faults:
        raise Invalid(faults=faults)


async def get(session: AsyncSession, project_id: ProjectId, agent_id: AgentId) -> AgentRow:
    """One agent of the project. Raises `NotFound`."""
    statement = select(AgentRow).where(AgentRow.id == agent_id, owned(AgentRow.project_id, project_id))
    return _found(await session.scalar(statement))


async def named(session: AsyncSession, project_id: ProjectId, name: str, environment: Environment) -> AgentRow | None:
    """The project's agent of this name in the environment, if there is one."""
    return await session.scalar(
        select(AgentRow).where(
            owned(AgentRow.project_id, project_id), AgentRow.name == name, AgentRow.environment == environment
        )
    )


async def is_routed_to(session: AsyncSession, agent: AgentRow) -> bool:
    """Whether a number of the project names the agent anywhere in its routing: as a variant, or to fall back to.

    Asked in SQL: the slice of numbers stands on this one and cannot be imported here.
    """
    found = await session.scalar(
        text("select exists (select from numbers where project_id = :project and strpos(settings::text, :agent) > 0)"),
        {"project": ids.parsed(ids.PROJECT, agent.project_id), "agent": agent.id},
    )
    return bool(found)


async def remove(session: AsyncSession, agent: AgentRow) -> None:
    """Deletes an agent and its versions. Raises `IntegrityError` while a number or a call names one of them."""
    await session.execute(
        delete(VersionRow).where(VersionRow.agent_id == agent.id, owned(VersionRow.project_id, agent.project_id))
    )
    await session.delete(agent)
    await session.flush()


async def lock(session: AsyncSession, project_id: ProjectId, agent_id: AgentId) -> AgentRow:
    """One agent; until the end of the transaction nobody else changes its versions. Raises `NotFound`."""
    statement = select(AgentRow).where(AgentRow.id == agent_id, owned(AgentRow.project_id, project_id))
    return _found(await session.scalar(statement.with_for_update()))


async def page(
    session: AsyncSession,
    project_id: ProjectId,
    asked: PageAsked,
    *,
    environment: Environment | None,
    name: str | None,
    is_archived: bool,
) -> Sequence[AgentRow]:
    """A page of the project's agents, either those in service or those that are archived."""
    archived = AgentRow.archived_at.is_not(None) if is_archived else AgentRow.archived_at.is_(None)
    statement = select(AgentRow).where(owned(AgentRow.project_id, project_id), archived)
    if environment is not None:
        statement = statement.where(AgentRow.environment == environment)
    if name is not None:
        statement = statement.where(AgentRow.name == name)
    return (await session.scalars(newest_first(statement, AgentRow.id, ids.AGENT, asked))).all()


async def add_version(session: AsyncSession, agent: AgentRow, config: AgentSpec) -> VersionRow:
    """A new draft under the next number. The agent is locked, or made in this transaction."""
    last = await session.scalar(select(func.max(VersionRow.number)).where(VersionRow.agent_id == agent.id))
    row = VersionRow(
        id=VersionId(ids.mint(ids.VERSION)),
        project_id=agent.project_id,
        agent_id=agent.id,
        number=(last or 0) + 1,
        state=VersionState.DRAFT,
        config=config,
    )
    session.add(row)
    await session.flush()
    return row


async def current(session: AsyncSession, agent: AgentRow) -> Mapping[VersionState, VersionRow]:
    """The draft and the published version, as far as there are."""
    statement = select(VersionRow).where(
        owned(VersionRow.project_id, agent.project_id),
        VersionRow.agent_id == agent.id,
        VersionRow.state != VersionState.ARCHIVED,
    )
    return {row.state: row for row in await session.scalars(statement)}


async def in_service(session: AsyncSession, project_id: ProjectId, agent_id: AgentId) -> VersionRow | None:
    """The published version of an agent that is not archived; None for any other."""
    live = select(AgentRow.id).where(owned(AgentRow.project_id, project_id), AgentRow.archived_at.is_(None))
    statement = select(VersionRow).where(
        owned(VersionRow.project_id, project_id),
        VersionRow.agent_id == agent_id,
        VersionRow.agent_id.in_(live),
        VersionRow.state == VersionState.PUBLISHED,
    )
    return await session.scalar(statement)


async def speaking(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId | None, version_id: VersionId | None
) -> VersionRow:
    """The version that is to speak: an agent's published one, or one by name, which may be a draft.

    Raises `Invalid` unless one of the two is given, and for one that may not answer.
    """
    if (agent_id is None) == (version_id is None):
        raise Invalid.at("agent_id", "Give either agent_id or version_id")
    if agent_id is not None:
        found = await in_service(session, project_id, agent_id)
        if found is None:
            raise Invalid.at("agent_id", "There is no such agent in this project, or it is not published")
        return found
    live = select(AgentRow.id).where(owned(AgentRow.project_id, project_id), AgentRow.archived_at.is_(None))
    found = await session.scalar(
        select(VersionRow).where(
            owned(VersionRow.project_id, project_id),
            VersionRow.agent_id.in_(live),
            VersionRow.id == version_id,
            VersionRow.state != VersionState.ARCHIVED,
        )
    )
    if found is None:
        raise Invalid.at("version_id", "There is no such version in this project that may still answer")
    return found


async def unavailable(
    session: AsyncSession, project_id: ProjectId, named: Iterable[tuple[str, AgentId]]
) -> list[Fault]:
    """What keeps agents from being named at these paths; they may be published later."""
    faults = []
    for path, agent_id in named:
        try:
            agent = await get(session, project_id, agent_id)
        except NotFound:
            faults.append(Fault(field=path, message="There is no such agent in this project"))
        else:
            if agent.archived_at is not None:
                faults.append(Fault(field=path, message="The agent is archived"))
    return faults


async def current_numbers(
    session: AsyncSession, project_id: ProjectId, agents: Sequence[AgentId]
) -> Mapping[tuple[AgentId, VersionState], int]:
    """The numbers of several agents' drafts and published versions."""
    statement = select(VersionRow.agent_id, VersionRow.state, VersionRow.number).where(
        owned(VersionRow.project_id, project_id),
        VersionRow.agent_id.in_(agents),
        VersionRow.state != VersionState.ARCHIVED,
    )
    return {(row.agent_id, row.state): row.number for row in await session.execute(statement)}


async def get_version(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId, version_id: VersionId
) -> VersionRow:
    """One version of an agent of the project. Raises `NotFound`."""
    statement = select(VersionRow).where(
        VersionRow.id == version_id, VersionRow.agent_id == agent_id, owned(VersionRow.project_id, project_id)
    )
    return _found(await session.scalar(statement))


async def version_page(
    session: AsyncSession, project_id: ProjectId, agent_id: AgentId, asked: PageAsked
) -> Sequence[VersionRow]:
    """A page of an agent's versions."""
    statement = select(VersionRow).where(VersionRow.agent_id == agent_id, owned(VersionRow.project_id, project_id))
    return (await session.scalars(newest_first(statement, VersionRow.id, ids.VERSION, asked))).all()


def _found[RowT](row: RowT | None) -> RowT:
    if row is None:
        raise NotFound
    return row
