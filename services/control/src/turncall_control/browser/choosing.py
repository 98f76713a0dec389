"""Who answers a page's call: an agent, a version by name, or whomever a routing gives it, as on a number."""

from collections.abc import Iterator

from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.agents import repository as agents
from turncall_control.browser.schemas import CallWanted
from turncall_control.callinit.contract import Arrival
from turncall_control.calls import deciding, lookup
from turncall_control.carriers import browser
from turncall_control.db.engine import in_project
from turncall_control.errors import Invalid
from turncall_control.http.destinations import check_url
from turncall_control.plane import Plane
from turncall_control.routing import Published, Routed, WebhookTarget, aims
from turncall_proto.ids import AgentId, CallId, ProjectId


async def check(plane: Plane, session: AsyncSession, project_id: ProjectId, wanted: CallWanted) -> None:
    """Raises `Invalid` when it names nobody who may answer, or two ways to find somebody."""
    if wanted.routing is None:
        if wanted.fallback_agent_id is not None:
            raise Invalid.at("fallback_agent_id", "Only a routing has one")
        await agents.speaking(session, project_id, wanted.agent_id, wanted.version_id)
        return
    if wanted.agent_id is not None or wanted.version_id is not None:
        raise Invalid.at("routing", "Give one of agent_id, version_id and routing")
    if isinstance(wanted.routing, WebhookTarget):
        await check_url(plane, wanted.routing.url, "routing.url")
    faults = await agents.unavailable(session, project_id, _named(wanted))
    if faults:
        raise Invalid(faults=faults)


async def chosen(
    plane: Plane, project_id: ProjectId, call_id: CallId, wanted: CallWanted, *, may_be_repeated: bool
) -> Routed:
    """Who answers a call that was checked; nobody, with a ``why``, when its routing gives it to none.

    ``may_be_repeated``: two pages may show one token at once, and the project's server is asked about its call once.
    Raises `Invalid` for an agent or a version that does not answer any more.
    """
    if wanted.routing is None:
        async with in_project(plane.database, project_id) as session:
            version = await agents.speaking(session, project_id, wanted.agent_id, wanted.version_id)
        return Routed(kind="agent", published=Published(agent_id=version.agent_id, version_id=version.id))
    pool = plane.database.pool
    answering = {agent_id: await lookup.published(pool, project_id, agent_id) for _, agent_id in _named(wanted)}
    arrival = Arrival(
        call_id=call_id,
        project_id=project_id,
        number_id=None,
        channel="browser",
        direction="inbound",
        from_number="",
        to_number="",
        provider=browser.PROVIDER,
        provider_call_id=call_id,
        variables=wanted.variables,
        metadata=wanted.metadata,
    )
    return await deciding.routed_by(
        plane, wanted.routing, wanted.fallback_agent_id, arrival, answering.get, may_be_repeated=may_be_repeated
    )


def _named(wanted: CallWanted) -> Iterator[tuple[str, AgentId]]:
    if wanted.routing is not None:
        yield from aims(wanted.routing)
    if wanted.fallback_agent_id is not None:
        yield "fallback_agent_id", wanted.fallback_agent_id
