"""/v1/agents: agents, their drafts and versions."""

from typing import Annotated, Final, Literal

from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import files, repository, service
from turncall_control.agents.archiving import archive_agent, unarchive_agent
from turncall_control.agents.check import check
from turncall_control.agents.model import AgentRow, Environment, VersionRow, VersionState
from turncall_control.agents.schemas import (
    AgentApplied,
    AgentChange,
    AgentDefinition,
    AgentFile,
    AgentNew,
    AgentSummary,
    AgentView,
    Changes,
    Verdict,
    VersionView,
)
from turncall_control.agents.views import agent_view, current_view, version_view
from turncall_control.auth import IN_PROJECT, Caller, Finds, Permission, in_path, needs
from turncall_control.errors import Conflict, Invalid, NotFound
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.plane import Plane, Slice
from turncall_control.vendors.catalogue import missing_keys
from turncall_proto import ids, template
from turncall_proto.changes import changes
from turncall_proto.ids import AgentId, VersionId

_AGENT: Final[Finds] = in_path("agent_id", ids.AGENT)
_VERSION: Final[Finds] = in_path("version_id", ids.VERSION, within=_AGENT)


class AgentInUse(Conflict):
    """A number is bound to the agent, or a call's record names one of its versions."""

    name, title = "agent-in-use", "The agent is in use"


class NameTaken(Conflict):
    """Names are unique among a project's agents of one environment."""

    name, title = "name-taken", "The name is taken"


_READ, _WRITE = Permission.AGENTS_READ, Permission.AGENTS_WRITE


@post("/v1/agents", tags=["agents"], opt=needs(_WRITE, IN_PROJECT, fails=[NameTaken], idempotent=True))
async def create_agent(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[AgentNew],
) -> AgentView:
    """Makes an agent whose draft has this config. It answers calls once it is published."""
    check(plane.vendors, data.config)
    await repository.check_links(session, caller.project_id, data.config)
    try:
        agent = await repository.add(session, caller.project_id, data.name, data.environment)
    except IntegrityError as error:
        raise _name_taken(data.name, data.environment) from error
    draft = await repository.add_version(session, agent, data.config)
    return agent_view(agent, draft, None)


@get("/v1/agents", tags=["agents"], opt=needs(_READ, IN_PROJECT))
async def list_agents(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    environment: Annotated[Environment | None, QueryParameter(description="Of this environment.")] = None,
    name: Annotated[str | None, QueryParameter(max_length=120, description="Exactly this name.")] = None,
    archived: Annotated[bool, QueryParameter(description="The archived agents, in place of the others.")] = False,
) -> Page[AgentSummary]:
    """The project's agents, newest first."""
    rows = await repository.page(
        session, caller.project_id, page, environment=environment, name=name, is_archived=archived
    )
    numbers = await repository.current_numbers(session, caller.project_id, [row.id for row in rows])

    def summary(row: AgentRow) -> AgentSummary:
        return AgentSummary(
            id=row.id,
            name=row.name,
            environment=row.environment,
            created_at=row.created_at,
            archived_at=row.archived_at,
            draft_number=numbers.get((row.id, VersionState.DRAFT)),
            published_number=numbers.get((row.id, VersionState.PUBLISHED)),
        )

    return paged(rows, page, summary, lambda row: (row.id,))


@post("/v1/agents/validate", status_code=200, tags=["agents"], opt=needs(_WRITE, IN_PROJECT, audited=False))
async def validate_agent(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[AgentDefinition],
) -> Verdict:
    """Checks a config without storing it: 422 names every field that is wrong."""
    check(plane.vendors, data.config)
    await repository.check_links(session, caller.project_id, data.config)
    held = await plane.held_keys(caller.project_id)
    return Verdict(
        missing_vendor_keys=tuple(missing_keys(plane.vendors, data.config, held)),
        undefined_variables=template.undefined(data.config),
    )


@get("/v1/agents/{agent_id:str}", tags=["agents"], opt=needs(_READ, _AGENT))
async def get_agent(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], agent_id: FromPath[str]
) -> AgentView:
    """An agent with its draft and its published version."""
    agent = await repository.get(session, caller.project_id, AgentId(agent_id))
    return await current_view(session, agent)


@patch("/v1/agents/{agent_id:str}", tags=["agents"], opt=needs(_WRITE, _AGENT, fails=[NameTaken]))
async def change_agent(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    data: JSONBody[AgentChange],
) -> AgentView:
    """Changes the name, or how many calls the agent may have at a time."""
    agent = await repository.get(session, caller.project_id, AgentId(agent_id))
    name, environment = agent.name if data.name is UNSET else data.name, agent.environment
    agent.name = name
    if data.max_concurrent_calls is not UNSET:
        agent.max_concurrent_calls = data.max_concurrent_calls
    try:
        await session.flush()
    except IntegrityError as error:
        raise _name_taken(name, environment) from error
    return await current_view(session, agent)


@put("/v1/agents/{agent_id:str}/draft", tags=["agents"], opt=needs(_WRITE, _AGENT, fails=[service.AgentArchived]))
async def put_draft(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    data: JSONBody[AgentDefinition],
) -> VersionView:
    """Replaces the draft's whole config; begins the next version when the last draft was published."""
    check(plane.vendors, data.config)
    await repository.check_links(session, caller.project_id, data.config)
    draft = await service.put_draft(session, caller.project_id, AgentId(agent_id), data.config)
    return version_view(draft)


@post(
    "/v1/agents/{agent_id:str}/publish",
    status_code=200,
    tags=["agents"],
    opt=needs(
        _WRITE,
        _AGENT,
        fails=[service.AgentArchived, service.NothingToPublish, service.VendorKeyMissing],
        idempotent=True,
    ),
)
async def publish_agent(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
) -> VersionView:
    """Lets the draft answer calls from the next one on, and archives the version that did.

    409 when there is no draft, or when the installation lacks the key of a vendor that it uses.
    """
    return version_view(
        await service.publish(
            session, caller.project_id, AgentId(agent_id), plane.vendors, await plane.held_keys(caller.project_id)
        )
    )


@get("/v1/agents/{agent_id:str}/versions", tags=["agents"], opt=needs(_READ, _AGENT))
async def list_versions(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    agent_id: FromPath[str],
) -> Page[VersionView]:
    """The agent's versions, newest first."""
    agent = await repository.get(session, caller.project_id, AgentId(agent_id))
    rows = await repository.version_page(session, caller.project_id, agent.id, page)
    return paged(rows, page, version_view, lambda row: (row.id,))


@get("/v1/agents/{agent_id:str}/versions/{version_id:str}", tags=["agents"], opt=needs(_READ, _VERSION))
async def get_version(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    version_id: FromPath[str],
) -> VersionView:
    """One version, whatever its state."""
    return version_view(
        await repository.get_version(session, caller.project_id, AgentId(agent_id), VersionId(version_id))
    )


@post(
    "/v1/agents/{agent_id:str}/versions/{version_id:str}/restore",
    status_code=200,
    tags=["agents"],
    opt=needs(
        _WRITE, _VERSION, fails=[service.AgentArchived, service.NotArchived, service.VendorKeyMissing], idempotent=True
    ),
)
async def restore_version(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    version_id: FromPath[str],
) -> VersionView:
    """Lets an archived version answer calls again, and archives the one that does; a draft stays as it is."""
    return version_view(
        await service.restore(
            session,
            caller.project_id,
            AgentId(agent_id),
            VersionId(version_id),
            plane.vendors,
            await plane.held_keys(caller.project_id),
        )
    )


async def _compared_with(session: AsyncSession, agent: AgentRow, since: str | None) -> VersionRow:
    """The version named, or the published one. Raises `Invalid`."""
    if since is None:
        published = (await repository.current(session, agent)).get(VersionState.PUBLISHED)
        if published is None:
            raise Invalid.at("since", "The agent has no published version; name another one")
        return published
    try:
        ids.parsed(ids.VERSION, since)
        return await repository.get_version(session, agent.project_id, agent.id, VersionId(since))
    except (ids.MalformedId, NotFound) as error:
        raise Invalid.at("since", "The agent has no such version") from error


def _name_taken(name: str, environment: Environment) -> NameTaken:
    return NameTaken(f"the project has another agent named {name} in {environment}")


@delete("/v1/agents/{agent_id:str}", tags=["agents"], opt=needs(_WRITE, _AGENT, fails=[AgentInUse]))
async def delete_agent(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], agent_id: FromPath[str]
) -> None:
    """Deletes an agent with its versions; 409 while a number is bound to it or a call was served by it."""
    agent = await repository.lock(session, caller.project_id, AgentId(agent_id))
    if await repository.is_routed_to(session, agent):
        raise AgentInUse("a number's routing names it; change that first")
    try:
        await repository.remove(session, agent)
    except IntegrityError as error:
        raise AgentInUse("it has served calls and stays for as long as their records") from error


@get("/v1/agents/{agent_id:str}/export", tags=["agents"], opt=needs(_READ, _AGENT))
async def export_agent(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    version: Annotated[Literal["published", "draft"], QueryParameter(description="Which config.")] = "published",
) -> AgentFile:
    """The agent as one file for `import_agent`; 404 when it has no such version."""
    return await files.export(session, caller.project_id, AgentId(agent_id), VersionState(version))


@post(
    "/v1/agents/import",
    status_code=200,
    tags=["agents"],
    opt=needs(_WRITE, IN_PROJECT, fails=[NameTaken, service.AgentArchived, service.VendorKeyMissing], idempotent=True),
)
async def import_agent(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[AgentFile],
    publish: Annotated[bool, QueryParameter(description="Also lets the config answer calls.")] = False,
    dry_run: Annotated[bool, QueryParameter(description="Only says what would change.")] = False,
) -> AgentApplied:
    """Brings the agent of this name and environment to the file's config, and makes it if there is none.

    The same file a second time changes nothing.
    """
    check(plane.vendors, data.config)
    await repository.check_links(session, caller.project_id, data.config)
    try:
        done = await files.apply(
            session,
            caller.project_id,
            data,
            plane.vendors,
            await plane.held_keys(caller.project_id),
            publish=publish,
            dry_run=dry_run,
        )
    except IntegrityError as error:
        raise _name_taken(data.name, data.environment) from error
    return AgentApplied(
        agent_id=None if done.agent is None else done.agent.id,
        outcome=done.outcome,
        publishes=done.publishes,
        changes=done.changes,
    )


@get("/v1/agents/{agent_id:str}/versions/{version_id:str}/changes", tags=["agents"], opt=needs(_READ, _VERSION))
async def list_version_changes(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    agent_id: FromPath[str],
    version_id: FromPath[str],
    since: Annotated[
        str | None, QueryParameter(max_length=64, description="The version to compare with; the published one.")
    ] = None,
) -> Changes:
    """What this version says that the version `since` does not, field by field."""
    agent = AgentId(agent_id)
    after = await repository.get_version(session, caller.project_id, agent, VersionId(version_id))
    before = await _compared_with(session, await repository.get(session, caller.project_id, agent), since)
    return Changes(before_id=before.id, after_id=after.id, changes=changes(before.config, after.config))


AGENTS: Final = Slice(
    name="agents",
    routes=(
        create_agent,
        list_agents,
        validate_agent,
        get_agent,
        change_agent,
        put_draft,
        publish_agent,
        list_versions,
        get_version,
        restore_version,
        delete_agent,
        export_agent,
        import_agent,
        list_version_changes,
        archive_agent,
        unarchive_agent,
    ),
)
