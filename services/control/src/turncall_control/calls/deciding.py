"""Who answers a call: what the number's target names, or the user's server; failing these, the fallback agent."""

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from turncall_control.callinit import asking
from turncall_control.callinit.contract import Arrival, Reply
from turncall_control.calls import lookup
from turncall_control.calls.lookup import Found
from turncall_control.calls.ringing import Ringing
from turncall_control.plane import Plane
from turncall_control.routing import (
    AgentTarget,
    BoundNumber,
    Published,
    Routed,
    Routing,
    Target,
    WebhookTarget,
    WeightedTarget,
    variant_for,
)
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, ProjectId

UNPUBLISHED: Final = "the agent has no published version"
NOT_ASKED: Final = "the project's server is not asked while Postgres is away"
UNFINISHED: Final = "another process asked the project's server and did not finish"
ROW_WITHIN_S: Final = asking.BUDGET_S + 2.0
"""After which whoever asks about a call has its row, or will not have one: asking, then finding a worker."""
LOOK_EVERY_S: Final = 0.1


async def decide(plane: Plane, found: Found, ringing: Ringing) -> Routed:
    """Who answers a call that has no row yet. The row may be there when this returns: another process made it."""
    settings = found.number.settings
    return await routed_by(
        plane,
        settings.routing,
        settings.fallback.agent_id,
        ringing.arrival(found.number),
        found.answering,
        may_be_repeated=ringing.may_be_repeated,
    )


async def routed_by(
    plane: Plane,
    target: Target,
    fallback: AgentId | None,
    arrival: Arrival,
    answering: Callable[[AgentId], Published | None],
    *,
    may_be_repeated: bool,
) -> Routed:
    """Whom a target gives a call, on a number or not; the fallback agent with a ``why`` when that is nobody.

    ``answering`` knows the versions that answer for the agents that are named here.
    """
    if isinstance(target, WebhookTarget):
        routed = await _asked(plane, target, arrival, may_be_repeated=may_be_repeated)
    else:
        agent_id, routed = aimed_at(target, arrival.from_number, arrival.call_id)
        published = answering(agent_id)
        routed = replace(routed, published=published, why="" if published else UNPUBLISHED)
    if not routed.why:
        return routed
    return replace(routed, is_fallback=True, published=answering(fallback) if fallback else None)


def recall(known: Routing, number: BoundNumber, caller: str, call_id: CallId) -> tuple[Routed, AgentSpec] | None:
    """Who answers as far as is known without the database; None when that is nobody."""
    target = number.settings.routing
    if isinstance(target, WebhookTarget):
        # Its answer could not be kept for the call's next worker.
        routed = Routed(kind="webhook", why=NOT_ASKED)
    else:
        agent_id, routed = aimed_at(target, caller, call_id)
        found = known.recall_agent(agent_id)
        if found is not None:
            return replace(routed, published=found[0]), found[1]
        routed = replace(routed, why=UNPUBLISHED)
    fallback = number.settings.fallback.agent_id
    found = known.recall_agent(fallback) if fallback is not None else None
    if found is None:
        return None
    return replace(routed, published=found[0], is_fallback=True), found[1]


def aimed_at(target: AgentTarget | WeightedTarget, caller: str, call_id: CallId) -> tuple[AgentId, Routed]:
    """The agent that a target names for this caller, and the decision so far."""
    match target:
        case AgentTarget(agent_id=agent_id):
            return agent_id, Routed(kind="agent")
        case WeightedTarget(variants=variants):
            variant = variant_for(variants, caller, call_id)
            return variant.agent_id, Routed(kind="weighted", variant=variant.name)


async def _asked(plane: Plane, target: WebhookTarget, arrival: Arrival, *, may_be_repeated: bool) -> Routed:
    """What the project's server says, asked once for each call; with a ``why`` when that is of no use."""
    if may_be_repeated and not await asking.is_first(plane, arrival.call_id):
        await _other_process(plane, arrival.call_id)
        return Routed(kind="webhook", why=UNFINISHED)
    asked = await asking.ask(plane, target, arrival)
    routed = Routed(kind="webhook", why=asked.why, asked_ms=asked.asked_ms, attempts=asked.attempts)
    if asked.reply is None:
        return routed
    published = await _named(plane, arrival.project_id, asked.reply)
    if published is None and asked.reply.config is None:
        return replace(routed, why="the server named an agent that the project has not published")
    return replace(
        routed,
        published=published,
        inline=asked.reply.config,
        variables=asked.reply.variables,
        metadata=asked.reply.metadata,
        knowledge_context=asked.reply.knowledge_context,
    )


async def _other_process(plane: Plane, call_id: CallId) -> None:
    """Waits until the process that asks about the call has stored it, or must have died."""
    give_up_at = asyncio.get_running_loop().time() + ROW_WITHIN_S
    while asyncio.get_running_loop().time() < give_up_at:
        if await lookup.has_row(plane.database.pool, call_id):
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def _named(plane: Plane, project_id: ProjectId, reply: Reply) -> Published | None:
    """The published version of the agent that a reply names; only the call's own project is searched."""
    if reply.agent_id is not None:
        return await lookup.published(plane.database.pool, project_id, reply.agent_id)
    if reply.agent_name is not None:
        return await lookup.published_named(plane.database.pool, project_id, reply.agent_name, reply.environment)
    return None
