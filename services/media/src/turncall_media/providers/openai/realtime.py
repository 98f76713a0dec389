"""One conversation over OpenAI's Realtime API: what is sent, what comes back, and whose it is.

A session is lost with its socket: after an hour at the latest.
"""

import base64
import json
from collections import deque
from typing import Any, Final

from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.utils.errors import ErrorCategory
from websockets.asyncio.client import ClientConnection

from turncall_media.audio import mulaw
from turncall_media.audio.resampling import Resampler
from turncall_media.stages.channels import Channel, Lost, connected, introduced
from turncall_media.stages.conversing import VERBATIM, ConversingService
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply, Wish
from turncall_media.stages.told import Answered, Called, News, Told, instructions
from turncall_runtime import logs

RATE_HZ: Final = 24_000
"""Of the API's bare PCM."""
MULAW_HZ: Final = 8000
_HARMLESS: Final = frozenset({"response_cancel_not_active", "item_truncate_invalid_item_id"})
"""Of what we asked for in the moment in which it became needless."""
_CONTENT: Final = {"assistant": "output_text", "user": "input_text", "system": "input_text"}
_log = logs.logger(__name__)


class RealtimeService(ConversingService):
    """Replies are told apart by the API's own numbers, so one that nobody waits for ends beside the next one."""

    def __init__(self, model: str, session: dict[str, Any], line: Line, context: BuildContext) -> None:
        super().__init__(model, line, context)
        self._model = model
        self._configuration = session
        self._is_mulaw = session["audio"]["input"]["format"]["type"] == "audio/pcmu"
        self._wire_hz = MULAW_HZ if self._is_mulaw else RATE_HZ
        self._up = Resampler(self._rate_hz, self._wire_hz)
        self._told = Told()
        self._tools: list[dict[str, Any]] = []
        self._created: deque[Reply] = deque()  # asked for, and not confirmed
        self._running: dict[str, Reply] = {}  # confirmed, and not done
        self._committed: deque[int] = deque()
        self._turns: dict[str, int] = {}  # by the item that holds their sound

    async def _begin_turn(self, pcm: bytes) -> None:
        self._up = Resampler(self._rate_hz, self._wire_hz)
        await self._tell("input_audio_buffer.clear")
        await self._append(pcm)

    async def _append(self, pcm: bytes) -> None:
        await self._send_sound(self._up.take(pcm))

    async def _commit(self, wish: Wish) -> bool:
        await self._send_sound(self._up.end())
        self._up = Resampler(self._rate_hz, self._wire_hz)
        is_sent = await self._tell("input_audio_buffer.commit")
        if is_sent and wish.turn is not None:
            self._committed.append(wish.turn)
        return is_sent

    async def _request(self, reply: Reply) -> None:
        if self._tools != self._offered():  # some are found late
            self._tools = self._offered()
            await self._tell("session.update", session={"type": "realtime", "tools": self._tools})
        for news in self._told.news(self._messages):
            await self._tell("conversation.item.create", item=item(news))
        if self._active is reply:
            self._created.append(reply)
            await self._tell("response.create", response=_asked(reply.wish))

    async def _give_up(self, reply: Reply) -> None:
        if reply.id in self._running:
            await self._tell("response.cancel", response_id=reply.id)

    async def _cut(self, reply: Reply, heard_ms: int) -> None:
        """The session forgets what the caller did not hear."""
        for item_id, duration_ms in reply.parts:
            if heard_ms < duration_ms:
                end_ms = max(0, heard_ms)
                await self._tell("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
            heard_ms -= duration_ms

    def _is_busy(self) -> bool:
        return bool(self._created or self._running)

    def _forget(self) -> None:
        self._created.clear()
        self._running.clear()
        self._committed.clear()
        self._turns.clear()

    async def _take(self, message: str | bytes) -> None:
        event = json.loads(message)
        reply = self._reply_of(event)
        if reply is not None and reply is self._active:
            self._arm()
        match event["type"]:
            case "response.created":
                await self._confirmed(event["response"]["id"])
            case "response.output_audio.delta" if reply is not None:
                await self._spoke(reply, event)
            case "response.output_audio_transcript.delta" if reply is not None:
                await reply.words(event["delta"])
            case "response.output_item.done" if reply is not None and event["item"]["type"] == "function_call":
                await self._called(reply, event["item"])
            case "response.done":
                await self._done(event["response"])
            case "input_audio_buffer.committed":
                if self._committed:
                    self._turns[event["item_id"]] = self._committed.popleft()
            case "conversation.item.input_audio_transcription.delta":
                await self._heard(self._turns.get(event["item_id"]), event["delta"], is_final=False)
            case "conversation.item.input_audio_transcription.completed":
                await self._heard(self._turns.pop(event["item_id"], None), event["transcript"].strip(), is_final=True)
            case "conversation.item.input_audio_transcription.failed":
                await self._heard(self._turns.pop(event["item_id"], None), "", is_final=True)
            case "error":
                await self._complaint(event["error"])

    def _reply_of(self, event: dict[str, Any]) -> Reply | None:
        """Whose event this is; None also for one that nobody waits for."""
        reply = self._running.get(event.get("response_id", ""))
        return None if reply is None or reply.is_over else reply

    async def _confirmed(self, number: str) -> None:
        if not self._created:
            return
        reply = self._created.popleft()
        reply.id = number
        self._running[number] = reply
        if reply.is_over:
            await self._give_up(reply)

    async def _spoke(self, reply: Reply, event: dict[str, Any]) -> None:
        sound = base64.b64decode(event["delta"])
        pcm = mulaw.decode(sound) if self._is_mulaw else sound
        duration_ms = len(pcm) * 1000 // (2 * self._wire_hz)
        if reply.parts and reply.parts[-1][0] == event["item_id"]:
            duration_ms += reply.parts.pop()[1]
        reply.parts.append((event["item_id"], duration_ms))
        await self._sound(reply, pcm, self._wire_hz)

    async def _called(self, reply: Reply, function_call: dict[str, Any]) -> None:
        self._told.called(function_call["call_id"], function_call["name"])
        try:
            arguments = json.loads(function_call["arguments"] or "{}")
        except ValueError:
            arguments = None
        await self._call(reply, (function_call["call_id"], function_call["name"], arguments))

    async def _done(self, response: dict[str, Any]) -> None:
        reply = self._running.pop(response["id"], None)
        await self.start_llm_usage_metrics(_usage(response.get("usage") or {}))
        if reply is not None and reply is self._active:
            if response["status"] == "failed":
                error = (response.get("status_details") or {}).get("error") or {}
                await self._fail(str(error.get("message") or error.get("code") or "the response failed"), None)
                return
            await self._finish(reply)
        await self._proceed()

    async def _complaint(self, error: dict[str, Any]) -> None:
        code, message = error.get("code"), str(error.get("message"))
        if code == "session_expired":
            raise Lost(message)
        if code in _HARMLESS:
            _log.info("speech.needless", vendor=self._line.vendor, code=code)
            return
        await self._fail(message, ErrorCategory.INVALID_REQUEST if self._active is None else None)

    async def _opened(self) -> Channel:
        url = f"{self._line.base_url}/realtime?model={self._model}"
        socket = await connected(self._line, url, {"Authorization": f"Bearer {self._line.key}"})
        await introduced(self._line, socket, self._introduce)
        return socket

    async def _introduce(self, socket: ClientConnection) -> None:
        """Instructions, tools and the past, in that order."""
        self._tools = self._offered()
        session = self._configuration | {
            "instructions": instructions(self._messages),
            "tools": self._tools,
            "tool_choice": "auto",
        }
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "session.updated":
                break
            if event["type"] == "error":
                raise Lost(str(event["error"].get("message")), ErrorCategory.INVALID_REQUEST)
        self._told = Told()
        for news in self._told.news(self._messages):
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item(news)}))

    def _offered(self) -> list[dict[str, Any]]:
        return [{"type": "function", **tool.to_default_dict()} for tool in self._tools_offered]

    async def _send_sound(self, pcm: bytes) -> None:
        if pcm:
            sound = mulaw.encode(pcm) if self._is_mulaw else pcm
            await self._tell("input_audio_buffer.append", audio=base64.b64encode(sound).decode())

    async def _tell(self, kind: str, **fields: Any) -> bool:
        return await self._send(json.dumps({"type": kind, **fields}))


def item(news: News) -> dict[str, Any]:
    """News of the conversation as an item of the API's."""
    match news:
        case Called():
            return {
                "type": "function_call",
                "call_id": news.call_id,
                "name": news.name,
                "arguments": news.arguments,
            }
        case Answered():
            return {"type": "function_call_output", "call_id": news.call_id, "output": news.answer}
        case _:
            content = [{"type": _CONTENT[news.role], "text": news.text}]
            return {"type": "message", "role": news.role, "content": content}


def _asked(wish: Wish) -> dict[str, Any]:
    """What a response is to be. A line is made apart from what was said, so that nothing leads away from its words."""
    if wish.text is None:
        return {}
    return {
        "instructions": VERBATIM + wish.text,
        "input": [],
        "tool_choice": "none",
        "conversation": "auto" if wish.is_kept else "none",
    }


def _usage(usage: dict[str, Any]) -> LLMTokenUsage:
    read, said = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    return LLMTokenUsage(
        prompt_tokens=usage.get("input_tokens") or 0,
        completion_tokens=usage.get("output_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        cache_read_input_tokens=read.get("cached_tokens"),
        input_audio_tokens=read.get("audio_tokens"),
        output_audio_tokens=said.get("audio_tokens"),
    )
