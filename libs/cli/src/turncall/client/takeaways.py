"""What is taken out of conversations, and what was made of those in writing."""

from collections.abc import Mapping
from typing import Any

from turncall.client.shapes import AnalysisView, Page, SessionAnalyses, TakeawayView
from turncall.client.transport import Transport
from turncall_proto.ids import SessionId, TakeawayId


class Takeaways(Transport):
    """Part of `TurnCall`."""

    async def create_takeaway(
        self, name: str, schema: Mapping[str, Any], *, instructions: str = "", description: str = "", key: str = ""
    ) -> TakeawayView:
        """A named schema; agents whose ``analysis.takeaways`` name it have it taken out of each conversation."""
        body = {"name": name, "schema": schema, "instructions": instructions, "description": description}
        return await self.request("POST", "/v1/takeaways", TakeawayView, body=body, key=key)

    async def takeaways(self, *, cursor: str | None = None, name: str | None = None) -> Page[TakeawayView]:
        """The project's takeaways, newest first."""
        return await self.request("GET", "/v1/takeaways", Page[TakeawayView], query={"cursor": cursor, "name": name})

    async def takeaway(self, takeaway_id: TakeawayId) -> TakeawayView:
        """One takeaway."""
        return await self.request("GET", f"/v1/takeaways/{takeaway_id}", TakeawayView)

    async def change_takeaway(self, takeaway_id: TakeawayId, **fields: Any) -> TakeawayView:
        """Changes ``schema``, ``instructions`` or ``description``, from the next reading on."""
        return await self.request("PATCH", f"/v1/takeaways/{takeaway_id}", TakeawayView, body=fields)

    async def delete_takeaway(self, takeaway_id: TakeawayId) -> None:
        """Deletes a takeaway that no agent names."""
        await self.perform("DELETE", f"/v1/takeaways/{takeaway_id}")

    async def session_analyses(self, session_id: SessionId) -> SessionAnalyses:
        """What was made of a conversation in writing once it was over."""
        return await self.request("GET", f"/v1/sessions/{session_id}/analysis", SessionAnalyses)

    async def analyse_session(self, session_id: SessionId) -> AnalysisView:
        """Has a conversation in writing that is over read anew."""
        return await self.request("POST", f"/v1/sessions/{session_id}/analysis", AnalysisView)
