"""Ultravox's calls: api/calls, and the websocket at which one is joined. It has an ear of its own."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import Reply
from turncall_testkit.vendors.serving import UNKNOWN, cut, opened
from turncall_testkit.vendors.talking import Ear, TalkingDesk

_TOLD: Final = {401: "Invalid API key.", 500: "Internal server error."}


class UltravoxFake(TalkingDesk):
    """Knows every model but `UNKNOWN`. It goes on speaking for ``played_s`` after all of a reply was sent, as a server
    that knows how long it takes to hear it."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.played_s = 0.05
        self.live: set[_Joined] = set()

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.post("/api/calls", self.create), web.get("/join/{number}", self.join)]

    async def expire(self) -> None:
        """Each call has its longest duration."""
        for joined in list(self.live):
            await joined.expire()

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /api/calls."""
        asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
        status = self.received(request.path, request.headers.get("X-API-Key", ""), asked)
        if status:
            return web.json_response({"detail": _TOLD[status]}, status={401: 403}.get(status, status))
        if asked["model"] == UNKNOWN:
            return web.json_response({"detail": [{"loc": ["model"], "msg": "unknown"}]}, status=400)
        self.sessions.append(asked)
        join_url = f"ws{self.base_url.removeprefix('http')}/join/{len(self.sessions) - 1}"
        return web.json_response({"callId": str(len(self.sessions)), "joinUrl": join_url}, status=201)

    async def join(self, request: web.Request) -> web.StreamResponse:
        """GET the websocket of one call."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        joined = _Joined(self, self.sessions[int(request.match_info["number"])], request, socket)
        self.live.add(joined)
        try:
            await joined.run()
        finally:
            self.live.discard(joined)
            await joined.close()
        return socket


class _Joined:
    """One call."""

    def __init__(
        self, fake: UltravoxFake, asked: dict[str, Any], request: web.Request, socket: web.WebSocketResponse
    ) -> None:
        self._fake = fake
        self._request = request
        self._socket = socket
        medium = asked["medium"]["serverWebSocket"]
        self._out_hz = medium["outputSampleRate"]
        endpoint_s = float(asked["vadSettings"]["turnEndpointDelay"].removesuffix("s"))
        self._ear = Ear(medium["inputSampleRate"], endpoint_s)
        self._state = ""
        self._speaking: asyncio.Task[None] | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._results: dict[str, asyncio.Future[str]] = {}
        fake.conversation = list(asked["initialMessages"])

    async def run(self) -> None:
        """Listens until the client leaves."""
        await self._tell("call_started", callId="1")
        await self._turn_to("listening")
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                await self._hear(message.data)
            elif message.type is WSMsgType.TEXT:
                event = msgspec.json.decode(message.data, type=dict[str, Any])
                self._fake.journal.append(Asked(name=event["type"], fields=event))
                await self._take(event)

    async def close(self) -> None:
        """Ends what is being said."""
        for task in [*([self._speaking] if self._speaking else []), *self._writing]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def expire(self) -> None:
        """The call has lasted too long."""
        await self._socket.close(code=1000)

    async def _hear(self, pcm: bytes) -> None:
        """A voice interrupts; the silence behind one ends a turn."""
        heard = self._ear.hear(pcm)
        if heard == "voice":
            await self._interrupt()
        elif heard == "end":
            transcript = self._fake.transcripts.next()
            self._fake.conversation.append({"role": "MESSAGE_ROLE_USER", "text": transcript})
            task = asyncio.create_task(self._write_down(transcript))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            self._say(self._fake.replies.next())

    async def _write_down(self, transcript: str) -> None:
        await asyncio.sleep(self._fake.words_after_s)
        await self._tell("transcript", role="user", medium="voice", text=transcript, final=True, ordinal=1)

    async def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "user_text_message":
                self._fake.conversation.append({"role": "MESSAGE_ROLE_USER", "text": event["text"]})
                if event["urgency"] == "immediate":
                    await self._interrupt()
                    self._say(self._fake.replies.next())
            case "forced_agent_message":
                await self._interrupt()
                self._say(Reply(text=event["content"]))
            case "client_tool_result":
                self._results[event["invocationId"]].set_result(event["result"])

    async def _interrupt(self) -> None:
        speaking, self._speaking = self._speaking, None
        if speaking is None or speaking.done():
            return
        speaking.cancel()
        with suppress(asyncio.CancelledError):
            await speaking
        await self._tell("playback_clear_buffer")
        await self._turn_to("listening")

    def _say(self, reply: Reply) -> None:
        self._speaking = asyncio.create_task(self._answer(reply))

    async def _answer(self, reply: Reply) -> None:
        manners = self._fake.manners
        if manners.fault == "stall":
            await self._fake.stalls.stall()
        await self._turn_to("thinking")
        await asyncio.sleep(manners.first_byte_after_s)
        await self._speak(reply.text)
        while reply.calls:
            for number, call in enumerate(reply.calls):
                call_id = f"call-{len(self._results)}-{number}"
                result = self._results[call_id] = asyncio.get_running_loop().create_future()
                await self._tell(
                    "client_tool_invocation", toolName=call.name, invocationId=call_id, parameters=call.arguments
                )
                known = {"role": "MESSAGE_ROLE_TOOL_RESULT", "toolName": call.name, "text": await result}
                self._fake.conversation.append(known)
            reply = self._fake.replies.next()
            await self._speak(reply.text)
        await asyncio.sleep(self._fake.played_s)
        await self._turn_to("listening")

    async def _speak(self, text: str) -> None:
        """A fault comes after half of it."""
        if not text:
            return
        await self._turn_to("speaking")
        self._fake.conversation.append({"role": "MESSAGE_ROLE_AGENT", "text": text})
        said = {"role": "agent", "medium": "voice", "ordinal": 2}
        for piece, words in self._fake.spoken(text, self._out_hz):
            await self._socket.send_bytes(piece)
            if words:
                await self._tell("transcript", **said, delta="".join(words), final=False)
            await asyncio.sleep(self._fake.manners.pace_s)
        if self._fake.manners.fault == "cut":
            cut(self._request)
            await self._fake.stalls.stall()
        elif self._fake.manners.fault == "break":
            await self._socket.close(code=1011, message=b"internal error")
        await self._tell("transcript", **said, text=text, final=True)

    async def _turn_to(self, state: str) -> None:
        if state != self._state:
            self._state = state
            await self._tell("state", state=state)

    async def _tell(self, kind: str, **fields: Any) -> None:
        if not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_json({"type": kind, **fields})


ultravox_fake = opened(UltravoxFake)
"""Its keyword arguments are those of `UltravoxFake`."""
