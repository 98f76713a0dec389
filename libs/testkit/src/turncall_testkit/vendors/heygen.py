"""HeyGen's LiveAvatar: sessions, and the websocket that takes speech. The LiveKit room of a session is not here."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Asked, Kind
from turncall_testkit.vendors.serving import Desk, cut, opened

TOKEN = "a-session-token"


class HeyGenFake(Desk):
    """Takes one session at a time; ``cut`` takes its socket away with the first speech."""

    PATH = "/v1"

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [
            web.post("/v1/sessions/token", self.admit),
            web.post("/v1/sessions/start", self.start),
            web.post("/v1/sessions/stop", self.stop),
            web.get("/socket", self.listen),
        ]

    def options(self, kind: Kind) -> dict[str, Any]:
        """The least options of its vendor, which takes no address."""
        return {"avatar_id": "an-avatar"}

    async def admit(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/sessions/token."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        status = self.received(request.path, request.headers.get("X-API-KEY", ""), asked)
        if status or not asked.get("avatar_id"):
            return web.json_response({"code": 4001, "data": None, "message": "refused"}, status=status or 422)
        return _said({"session_id": "a-session", "session_token": TOKEN})

    async def start(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/sessions/start."""
        if not self._is_let_in(request, {}):
            return web.json_response({"code": 4010, "data": None, "message": "unauthorized"}, status=401)
        return _said(
            {
                "session_id": "a-session",
                "livekit_url": "wss://room.example",
                "livekit_client_token": "a-room-token",
                "livekit_agent_token": "another-room-token",
                "max_session_duration": 600,
                "ws_url": f"ws://{request.host}/socket",
            }
        )

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/sessions/stop."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        is_known = self._is_let_in(request, asked) and asked == {"session_id": "a-session"}
        return _said(None) if is_known else web.json_response({"code": 4004, "message": "unknown"}, status=404)

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """GET the websocket."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "session.state_updated", "state": "connected"})
        async for message in socket:
            fields = msgspec.json.decode(message.data, type=dict[str, Any])
            audio = base64.b64decode(fields.pop("audio", ""))
            self.journal.append(Asked(name=fields["type"], fields=fields, audio=audio))
            if self.manners.fault == "cut":
                cut(request)
        return socket

    def _is_let_in(self, request: web.Request, fields: Mapping[str, Any]) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.received(request.path, token, fields) and token == TOKEN


heygen_fake = opened(HeyGenFake)
"""Its keyword arguments are those of `HeyGenFake`."""


def _said(data: Any) -> web.Response:
    return web.json_response({"code": 1000, "data": data, "message": "ok"})
