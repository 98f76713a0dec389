"""For the time when Postgres is away: what answered a number last, and what a caller has been told since."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId

KNOWN_AT_MOST: Final = 10_000
"""Numbers, and versions of agents, that a process keeps: some 50 MB of definitions at their usual size."""


class Route(Struct, frozen=True, kw_only=True):
    """What answers a number."""

    project_id: ProjectId
    number_id: NumberId
    agent_id: AgentId
    version_id: VersionId


class Routing:
    """The last known routes by carrier and number, and the agents behind them; the ones used least lately go first."""

    def __init__(self) -> None:
        self._routes: OrderedDict[tuple[str, str], Route] = OrderedDict()
        self._agents: dict[VersionId, AgentSpec] = {}

    def know(self, routes: Mapping[tuple[str, str], Route]) -> None:
        """Takes these routes for all there are, as far as they fit; agents that nothing leads to are forgotten."""
        kept = list(routes.items())[:KNOWN_AT_MOST]
        self._routes = OrderedDict(kept)
        wanted = {route.version_id for _, route in kept}
        self._agents = {version: agent for version, agent in self._agents.items() if version in wanted}

    def used(self, provider: str, e164: str, route: Route) -> None:
        """Notes a route that was just looked up."""
        self._routes[provider, e164] = route
        self._routes.move_to_end((provider, e164))
        while len(self._routes) > KNOWN_AT_MOST:
            self._routes.popitem(last=False)

    def unknown_agents(self) -> Collection[VersionId]:
        """The versions that routes lead to and whose definition is not known yet."""
        return {route.version_id for route in self._routes.values()} - self._agents.keys()

    def learn(self, version_id: VersionId, agent: AgentSpec) -> None:
        """Notes the definition of a version, which never changes."""
        self._agents[version_id] = agent

    def recall(self, provider: str, e164: str) -> tuple[Route, AgentSpec] | None:
        """The last known route of a number and its agent; None when either was never seen."""
        route = self._routes.get((provider, e164))
        agent = route and self._agents.get(route.version_id)
        return (route, agent) if route and agent else None


TOLD_AT_MOST: Final = 2_000
TOLD_FOR_S: Final = 60.0
"""How long an answer is good for: as long as the address of the media socket in it."""


class Answer:
    """What a carrier was told about one call; ``turn`` is held while it is decided."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.document: str | None = None
        self.made_s = time.monotonic()


class Told:
    """Answers that no row holds, so that a repeat on this process gets the same. The oldest go first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[CallId, Answer] = OrderedDict()

    def about(self, call_id: CallId) -> Answer:
        """The answer of a call, to be made by whoever has its turn first."""
        known = self._answers.get(call_id)
        if known is None or time.monotonic() - known.made_s > TOLD_FOR_S:
            known = self._answers[call_id] = Answer()
            self._answers.move_to_end(call_id)
        while len(self._answers) > TOLD_AT_MOST:
            self._answers.popitem(last=False)
        return known

    def recall(self, call_id: CallId) -> str | None:
        """What was told about a call lately; None when that was nothing."""
        known = self._answers.get(call_id)
        if known is None or time.monotonic() - known.made_s > TOLD_FOR_S:
            return None
        return known.document
