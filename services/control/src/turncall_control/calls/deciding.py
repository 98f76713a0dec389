"""Who answers a call: the number's target, or its fallback agent."""

from msgspec.structs import replace

from turncall_control.calls import lookup
from turncall_control.calls.ringing import Ringing
from turncall_control.plane import Plane
from turncall_control.routing import AgentTarget, BoundNumber, Routed, Routing, WeightedTarget, variant_for
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId

UNPUBLISHED = "the agent has no published version"


async def decide(plane: Plane, number: BoundNumber, ringing: Ringing) -> Routed:
    """Who answers a call that has no row yet."""
    settings = number.settings
    agent_id, routed = aimed_at(number, ringing.from_number, ringing.call_id)
    published = await lookup.published(plane.database.pool, number.project_id, agent_id)
    if published is not None:
        return replace(routed, published=published)
    fallback = settings.fallback.agent_id
    return replace(
        routed,
        is_fallback=True,
        why=UNPUBLISHED,
        published=fallback and await lookup.published(plane.database.pool, number.project_id, fallback),
    )


def recall(known: Routing, number: BoundNumber, caller: str, call_id: CallId) -> tuple[Routed, AgentSpec] | None:
    """Who answers as far as is known without the database; None when that is nobody."""
    agent_id, routed = aimed_at(number, caller, call_id)
    found = known.recall_agent(agent_id)
    if found is not None:
        return replace(routed, published=found[0]), found[1]
    fallback = number.settings.fallback.agent_id
    found = known.recall_agent(fallback) if fallback is not None else None
    if found is None:
        return None
    return replace(routed, published=found[0], is_fallback=True, why=UNPUBLISHED), found[1]


def aimed_at(number: BoundNumber, caller: str, call_id: CallId) -> tuple[AgentId, Routed]:
    """The agent that the number's target names for this caller, and the decision so far."""
    match number.settings.routing:
        case AgentTarget(agent_id=agent_id):
            return agent_id, Routed(kind="agent")
        case WeightedTarget(variants=variants):
            variant = variant_for(variants, caller, call_id)
            return variant.agent_id, Routed(kind="weighted", variant=variant.name)
