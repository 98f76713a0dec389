"""One agent and its versions, and how they do beside each other."""

from datetime import datetime
from typing import Any

from turncall.client.shapes import AgentView, Changes, Experiment, Page, VariantReport, VersionView
from turncall.client.transport import Transport
from turncall_proto.ids import AgentId, NumberId, VersionId


class Versions(Transport):
    """Part of `TurnCall`."""

    async def agent(self, agent_id: AgentId) -> AgentView:
        """An agent with its draft and its published version."""
        return await self.request("GET", f"/v1/agents/{agent_id}", AgentView)

    async def change_agent(self, agent_id: AgentId, **fields: Any) -> AgentView:
        """Changes ``name`` or ``max_concurrent_calls``."""
        return await self.request("PATCH", f"/v1/agents/{agent_id}", AgentView, body=fields)

    async def delete_agent(self, agent_id: AgentId) -> None:
        """Deletes an agent that no number names and that has served no call."""
        await self.perform("DELETE", f"/v1/agents/{agent_id}")

    async def archive_agent(self, agent_id: AgentId) -> AgentView:
        """Takes an agent out of service: no call reaches it from the next one on."""
        return await self.request("POST", f"/v1/agents/{agent_id}/archive", AgentView)

    async def unarchive_agent(self, agent_id: AgentId) -> AgentView:
        """Takes an agent out of the archive; it answers calls once a version is published or restored."""
        return await self.request("POST", f"/v1/agents/{agent_id}/unarchive", AgentView)

    async def versions(self, agent_id: AgentId, *, cursor: str | None = None) -> Page[VersionView]:
        """The agent's versions, newest first."""
        return await self.request("GET", f"/v1/agents/{agent_id}/versions", Page[VersionView], query={"cursor": cursor})

    async def version(self, agent_id: AgentId, version_id: VersionId) -> VersionView:
        """One version, whatever its state."""
        return await self.request("GET", f"/v1/agents/{agent_id}/versions/{version_id}", VersionView)

    async def version_changes(
        self, agent_id: AgentId, version_id: VersionId, *, since: VersionId | None = None
    ) -> Changes:
        """What a version says that ``since`` does not; the published one unless it is given."""
        path = f"/v1/agents/{agent_id}/versions/{version_id}/changes"
        return await self.request("GET", path, Changes, query={"since": since})

    async def restore_version(self, agent_id: AgentId, version_id: VersionId) -> VersionView:
        """Lets an archived version answer calls again."""
        return await self.request("POST", f"/v1/agents/{agent_id}/versions/{version_id}/restore", VersionView)

    async def variants(
        self, number_id: NumberId, *, since: datetime | None = None, until: datetime | None = None
    ) -> VariantReport:
        """How the variants of a number's weighted routing do; the last 30 days unless told otherwise."""
        span = {name: moment.isoformat() for name, moment in (("since", since), ("until", until)) if moment}
        return await self.request("GET", f"/v1/numbers/{number_id}/variants", VariantReport, query=span)

    async def experiment(self, number_id: NumberId, *, outcome: str = "success", **query: str | None) -> Experiment:
        """The variants of a number side by side by one outcome; ``query`` may be ``baseline``, ``since``, ``until``."""
        path = f"/v1/numbers/{number_id}/experiment"
        return await self.request("GET", path, Experiment, query={"outcome": outcome, **query})
