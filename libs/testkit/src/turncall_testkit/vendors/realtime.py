"""OpenAI's Realtime API over a websocket, in its generally available form: v1/realtime."""

import asyncio
import base64
import itertools
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import numpy as np
from aiohttp import WSMsgType, web

from turncall_phone import mulaw
from turncall_testkit.vendors.manners import Asked, Kind
from turncall_testkit.vendors.replies import Call, Reply
from turncall_testkit.vendors.serving import UNKNOWN, cut, opened
from turncall_testkit.vendors.talking import PIECE_S, SILENCE_MS, TalkingDesk

LEAST_COMMIT_S: Final = 0.1
"""Of sound that a commit must have before it."""
_TOLD: Final = {401: "invalid_api_key", 500: "server_error"}
_RATES_HZ: Final = {"audio/pcmu": 8000, "audio/pcm": 24_000}
_BYTES: Final = {"audio/pcmu": 1, "audio/pcm": 2}


class Refused(Exception):
    """A client event that the API answers with an error; the session goes on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RealtimeFake(TalkingDesk):
    """``truncated`` is how many ms of each item were heard."""

    PATH = "/v1"

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.truncated: dict[str, int] = {}
        self.live: set[_Session] = set()
        self.numbers = itertools.count(1)

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options for `turncall_media.providers.openai.speech`."""
        return {"base_url": self.base_url, "model": "fake-1", "timeout_ms": SILENCE_MS}

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get("/v1/realtime", self.serve)]

    async def expire(self) -> None:
        """What happens to each session after an hour."""
        for session in list(self.live):
            await session.expire()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/realtime."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if status := self.received(request.path, key, dict(request.query)):
            return web.json_response({"error": {"code": _TOLD[status]}}, status=status)
        if request.query.get("model") == UNKNOWN:
            return web.json_response({"error": {"code": "model_not_found"}}, status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = _Session(self, request, socket)
        self.live.add(session)
        try:
            await session.run()
        finally:
            self.live.discard(session)
            await session.close()
        return socket


class _Session:
    """One socket."""

    def __init__(self, fake: RealtimeFake, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._fake = fake
        self._request = request
        self._socket = socket
        self._heard = bytearray()
        self._config: dict[str, Any] = {}
        self._durations_ms: dict[str, int] = {}
        self._responses: dict[str, asyncio.Task[None]] = {}
        self._default: str | None = None  # the response that speaks in the conversation
        self._writing: set[asyncio.Task[None]] = set()
        self._fake.conversation = []

    async def run(self) -> None:
        """Answers the client's events until it leaves."""
        await self._tell("session.created", session={"type": "realtime", "id": self._new("sess")})
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            event = msgspec.json.decode(message.data, type=dict[str, Any])
            try:
                await self._take(event)
            except Refused as refusal:
                error = {"type": "invalid_request_error", "code": refusal.code, "message": str(refusal)}
                await self._tell("error", error=error | {"event_id": event.get("event_id")})

    async def close(self) -> None:
        """Ends what is being said."""
        for task in [*self._responses.values(), *self._writing]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def expire(self) -> None:
        """The session has lasted too long."""
        message = "The session lasted its 60 minutes."
        await self._tell(
            "error", error={"type": "invalid_request_error", "code": "session_expired", "message": message}
        )
        await self._socket.close(code=1001)

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self._heard += base64.b64decode(event["audio"], validate=True)
            return
        self._fake.journal.append(Asked(name=kind, fields=event, audio=bytes(self._heard)))
        match kind:
            case "session.update":
                await self._configure(event["session"])
            case "input_audio_buffer.commit":
                await self._commit()
            case "input_audio_buffer.clear":
                self._heard.clear()
                await self._tell("input_audio_buffer.cleared")
            case "conversation.item.create":
                await self._add(event["item"])
            case "conversation.item.truncate":
                await self._truncate(event)
            case "conversation.item.delete":
                self._fake.conversation = [
                    item for item in self._fake.conversation if item.get("id") != event["item_id"]
                ]
                await self._tell("conversation.item.deleted", item_id=event["item_id"])
            case "response.create":
                await self._respond(event.get("response") or {})
            case "response.cancel":
                await self._cancel(event.get("response_id"))
            case other:
                raise Refused("invalid_value", f"Invalid value: '{other}'.")

    async def _configure(self, session: dict[str, Any]) -> None:
        if session.get("type") != "realtime":
            raise Refused("missing_required_parameter", "Missing required parameter: 'session.type'.")
        session = {**self._config, **session}
        for side in ("input", "output"):
            if session["audio"][side]["format"]["type"] not in _RATES_HZ:
                raise Refused("invalid_value", f"Invalid value: 'session.audio.{side}.format.type'.")
        if "model" in session or "voice" in session or "modalities" in session:
            raise Refused("unknown_parameter", "Unknown parameter of the beta.")
        if session["audio"]["output"].get("voice") == UNKNOWN:
            raise Refused("invalid_value", "Invalid value: 'session.audio.output.voice'.")
        self._config = session
        self._fake.sessions.append(session)
        await self._tell("session.updated", session=session)

    async def _commit(self) -> None:
        kind = self._config["audio"]["input"]["format"]["type"]
        if len(self._heard) < LEAST_COMMIT_S * _RATES_HZ[kind] * _BYTES[kind]:
            raise Refused("input_audio_buffer_commit_empty", "Error committing input audio buffer: buffer too small.")
        self._heard.clear()
        item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
        await self._tell("input_audio_buffer.committed", previous_item_id=None, item_id=(await self._add(item))["id"])
        task = asyncio.create_task(self._write_down(item, self._fake.transcripts.next()))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_down(self, item: dict[str, Any], transcript: str) -> None:
        prefix, where = "conversation.item.input_audio_transcription", {"item_id": item["id"], "content_index": 0}
        await asyncio.sleep(self._fake.words_after_s)
        item["content"][0]["transcript"] = transcript
        for word in transcript.split(" "):
            await self._tell(f"{prefix}.delta", **where, delta=word)
        usage = {"type": "tokens", "total_tokens": 9, "input_tokens": 5, "output_tokens": 4}
        await self._tell(f"{prefix}.completed", **where, transcript=transcript, usage=usage)

    async def _add(self, item: dict[str, Any], *, response: str | None = None) -> dict[str, Any]:
        item.setdefault("id", self._new("item"))
        self._fake.conversation.append(item)
        await self._tell("conversation.item.added", previous_item_id=None, item=item)
        if response is None:
            await self._tell("conversation.item.done", previous_item_id=None, item=item)
        return item

    async def _truncate(self, event: dict[str, Any]) -> None:
        item, until_ms = event["item_id"], event["audio_end_ms"]
        if item not in self._durations_ms:
            raise Refused("item_not_found", f"Item '{item}' was not found.")
        if until_ms > self._durations_ms[item]:
            raise Refused("invalid_value", f"Audio content of {self._durations_ms[item]}ms is shorter")
        self._fake.truncated[item] = until_ms
        await self._tell("conversation.item.truncated", item_id=item, content_index=0, audio_end_ms=until_ms)

    async def _respond(self, asked: dict[str, Any]) -> None:
        is_apart = asked.get("conversation") == "none"
        if self._default is not None and not is_apart:
            raise Refused("conversation_already_has_active_response", "Conversation already has an active response.")
        number = self._new("resp")
        if not is_apart:
            self._default = number
        instructions = str(asked.get("instructions") or "")
        reply = Reply(text=instructions.partition("\n")[2]) if instructions else self._fake.replies.next()
        await self._tell("response.created", response={"id": number, "status": "in_progress"})
        self._responses[number] = asyncio.create_task(self._answer(number, reply, is_apart=is_apart))

    async def _cancel(self, number: str | None) -> None:
        number = number or self._default
        task = self._responses.get(number or "")
        if task is None or number is None:
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await self._done(number, "cancelled", {"type": "cancelled", "reason": "client_cancelled"})

    async def _answer(self, number: str, reply: Reply, *, is_apart: bool) -> None:
        manners = self._fake.manners
        if manners.fault == "stall":
            await self._fake.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        if reply.text and not await self._speak(number, reply.text, is_apart=is_apart):
            return
        for call in reply.calls:
            await self._call(number, call)
        await self._done(number, "completed", None)

    async def _speak(self, number: str, text: str, *, is_apart: bool) -> bool:
        """Whether it came to its end: a fault comes after half of it."""
        item: dict[str, Any] = {"id": self._new("item"), "type": "message", "role": "assistant", "content": []}
        at = {"response_id": number, "item_id": item["id"], "output_index": 0, "content_index": 0}
        await self._tell("response.output_item.added", response_id=number, output_index=0, item=item)
        if not is_apart:
            await self._add(item, response=number)
        await self._tell("response.content_part.added", **at, part={"type": "audio", "transcript": ""})
        kind, fault = self._config["audio"]["output"]["format"]["type"], self._fake.manners.fault
        self._durations_ms[item["id"]] = 0
        for piece, said in self._fake.spoken(text, _RATES_HZ[kind]):
            for word in said:
                await self._tell("response.output_audio_transcript.delta", **at, delta=word)
            self._durations_ms[item["id"]] += int(1000 * PIECE_S)
            sound = mulaw.encode(np.frombuffer(piece, "<i2")) if kind == "audio/pcmu" else piece
            await self._tell("response.output_audio.delta", **at, delta=base64.b64encode(sound).decode())
            await asyncio.sleep(self._fake.manners.pace_s)
        if fault == "cut":
            cut(self._request)
            return False
        if fault == "break":
            error = {"type": "server_error", "code": "server_error", "message": "The model failed."}
            await self._done(number, "failed", {"type": "failed", "error": error})
            return False
        item["content"] = [{"type": "output_audio", "transcript": text}]
        await self._tell("response.output_audio.done", **at)
        await self._tell("response.output_audio_transcript.done", **at, transcript=text)
        await self._tell("response.content_part.done", **at, part=item["content"][0])
        await self._tell("response.output_item.done", response_id=number, output_index=0, item=item)
        return True

    async def _call(self, number: str, call: Call) -> None:
        arguments = msgspec.json.encode(call.arguments).decode()
        item = {
            "id": self._new("item"),
            "type": "function_call",
            "name": call.name,
            "call_id": self._new("call"),
            "arguments": "",
        }
        at = {"response_id": number, "item_id": item["id"], "output_index": 1}
        await self._tell("response.output_item.added", response_id=number, output_index=1, item=item)
        await self._add(item, response=number)
        await self._tell("response.function_call_arguments.delta", **at, call_id=item["call_id"], delta=arguments)
        item["arguments"] = arguments
        await self._tell(
            "response.function_call_arguments.done",
            **at,
            call_id=item["call_id"],
            name=call.name,
            arguments=arguments,
        )
        await self._tell("response.output_item.done", response_id=number, output_index=1, item=item)

    async def _done(self, number: str, status: str, details: Mapping[str, Any] | None) -> None:
        if self._default == number:
            self._default = None
        self._responses.pop(number, None)
        usage = {
            "total_tokens": 170,
            "input_tokens": 120,
            "output_tokens": 50,
            "input_token_details": {"text_tokens": 100, "audio_tokens": 20, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
        }
        response: dict[str, Any] = {
            "id": number,
            "status": status,
            "status_details": details,
            "output": [],
            "usage": usage,
        }
        await self._tell("response.done", response=response)

    async def _tell(self, kind: str, **fields: Any) -> None:
        if not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_json({"type": kind, "event_id": self._new("event"), **fields})

    def _new(self, kind: str) -> str:
        return f"{kind}_{next(self._fake.numbers)}"


realtime_fake = opened(RealtimeFake)
"""Its keyword arguments are those of `RealtimeFake`."""
