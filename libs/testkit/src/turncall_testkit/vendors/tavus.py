"""Tavus's conversations. The Daily room of a conversation, which takes its speech, is not here."""

from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.serving import Desk, opened


class TavusFake(Desk):
    """Begins conversations, and notes which were ended."""

    PATH = "/v2"

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.post("/v2/conversations", self.begin), web.post("/v2/conversations/{id}/end", self.end)]

    def options(self, kind: Kind) -> dict[str, Any]:
        """The least options of its vendor, which takes no address."""
        return {"replica_id": "a-replica"}

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """POST /v2/conversations."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        status = self.received(request.path, request.headers.get("x-api-key", ""), asked)
        if status or not asked.get("replica_id"):
            return web.json_response({"message": "Invalid access token"}, status=status or 400)
        made = {"conversation_id": "c123", "conversation_url": "https://room.example/c123", "status": "active"}
        return web.json_response(made)

    async def end(self, request: web.Request) -> web.StreamResponse:
        """POST /v2/conversations/{id}/end."""
        status = self.received(request.path, request.headers.get("x-api-key", ""), {"id": request.match_info["id"]})
        return web.json_response({}, status=status or 200)


tavus_fake = opened(TavusFake)
"""Its keyword arguments are those of `TavusFake`."""
