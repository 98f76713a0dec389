"""One conversation in calls of Ultravox's: what is sent, what comes back, and whose it is.

Ultravox finds the ends of turns itself, and nothing can stop it from answering. So it hears the caller during our turns
only, and silence otherwise; an answer that it has before our turn is over is kept until then, and dropped if the caller
goes on; and the silence that it waits for is sent at once when our turn ends.
"""

import asyncio
import json
from typing import Any, Final

import httpx2
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from websockets.asyncio.client import ClientConnection

from turncall_media.stages import conversing, web
from turncall_media.stages.conversing import ConversingService, Lost
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply, Wish
from turncall_media.stages.told import Answered, Called, News, Said, Told, instructions

ENDPOINT_MS: Final = 384
"""Silence after which a turn is over; the shortest that Ultravox recommends. Ours are longer, or as long as said."""
CLOSING_MS: Final = 600
"""Silence that is sent behind a turn."""
LONGEST_CALL: Final = "3600s"
CLIENT_BUFFER_MS: Final = 30_000
"""The reply comes as fast as it is made; what was not played of it is ours to drop."""
UNHEARD_S: Final = 3.0
"""Without words and without an answer for so long, the vendor heard nobody in a turn."""
STILL_AT_WORK: Final = "This takes a while. The answer will follow; go on meanwhile."
GO_ON: Final = "<instruction>Go on.</instruction>"
_ROLES: Final = {"user": "MESSAGE_ROLE_USER", "assistant": "MESSAGE_ROLE_AGENT", "system": "MESSAGE_ROLE_USER"}


class UltravoxService(ConversingService):
    """See the module."""

    def __init__(
        self, server: str, asked: dict[str, Any], http: httpx2.AsyncClient, line: Line, context: BuildContext
    ) -> None:
        super().__init__(asked["model"], line, context)
        self._server = server
        self._asked = asked
        self._http = http
        self._bytes_per_ms = 2 * context.rate_hz // 1000
        self._ahead_bytes = 0  # sent before its time, and not to be sent again
        self._told = Told()
        self._tools: list[FunctionSchema] = []
        self._state = "listening"
        self._has_thought = False  # since the last request
        self._is_dropping = False  # what is coming belongs to nobody
        self._early: list[str | bytes] = []  # of an answer, before our turn is over
        self._due: list[int] = []  # turns whose words are due
        self._unheard: asyncio.TimerHandle | None = None

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()
        await self._http.aclose()

    # What is sent.

    async def _listen(self, pcm: bytes) -> None:
        if self._turn.is_open:
            await self._append(pcm)
            return
        credit = min(self._ahead_bytes, len(pcm))
        self._ahead_bytes -= credit
        await self._send(bytes(len(pcm) - credit))

    def _resume_turn(self) -> None:
        self._early.clear()

    async def _begin_turn(self, pcm: bytes) -> None:
        self._early.clear()
        self._ahead_bytes += len(pcm)
        await self._append(pcm)

    async def _append(self, pcm: bytes) -> None:
        if pcm:
            await self._send(pcm)

    async def _commit(self, wish: Wish) -> bool:
        """A turn that is not to be answered will be, in this session, which is given up for it."""
        silence = bytes(CLOSING_MS * self._bytes_per_ms)
        self._ahead_bytes += len(silence)
        is_sent = await self._send(silence)
        if is_sent and wish.turn is not None:
            self._due.append(wish.turn)
            if not wish.is_answered:
                self._is_dropping, self._is_outdated = True, True
        return is_sent

    async def _request(self, reply: Reply) -> None:
        self._has_thought = False
        wish = reply.wish
        news = self._told.news(self._messages)
        answers = [one for one in news if isinstance(one, Answered) and not self._function_is_async(one.name)]
        for answer in answers:
            await self._tell("client_tool_result", invocationId=answer.call_id, result=answer.answer)
        told = [_text(one) for one in news if one not in answers]
        is_asked = wish.turn is None and wish.text is None and not answers
        for text in told[:-1] if is_asked else told:
            await self._tell("user_text_message", text=text, urgency="later")
        if wish.text is not None:
            await self._tell("forced_agent_message", content=wish.text, urgency="immediate")
        elif is_asked:
            await self._tell("user_text_message", text=told[-1] if told else GO_ON, urgency="immediate")
        elif wish.turn is not None:
            patience_s = min(UNHEARD_S, self._line.timeout_s / 2)
            self._unheard = asyncio.get_running_loop().call_later(patience_s, self._nobody_spoke, reply)
            early, self._early = self._early, []
            for message in early:
                await self._answer(message)

    def _nobody_spoke(self, reply: Reply) -> None:
        is_unheard = reply.wish.turn in self._due and not self._has_thought
        if reply is self._active and not reply.has_begun and is_unheard:
            self.create_task(self._finish_without_words(reply), "unheard")

    async def _finish_without_words(self, reply: Reply) -> None:
        assert reply.wish.turn is not None
        self._due.remove(reply.wish.turn)
        await self._heard(reply.wish.turn, "", is_final=True)
        await self._finish(reply)
        await self._proceed()

    async def _give_up(self, reply: Reply) -> None:
        self._is_dropping = self._state != "listening"

    # What comes back.

    async def _take(self, message: str | bytes) -> None:
        event = json.loads(message) if isinstance(message, str) else {}
        if event.get("type") == "transcript" and event["role"] == "user":
            await self._heard_caller(event)
        elif event.get("type") == "playback_clear_buffer":
            self._is_dropping = False
            self._early.clear()
        elif self._active is None and self._turn.is_open:
            self._early.append(message)
        else:
            await self._answer(message)

    async def _heard_caller(self, event: dict[str, Any]) -> None:
        if event.get("final") and self._due:
            await self._heard(self._due.pop(0), (event.get("text") or "").strip(), is_final=True)
            if self._is_outdated:
                await self._proceed()

    async def _answer(self, message: str | bytes) -> None:
        """A piece of what the model does: words and sound of the reply that is waited for, tools, and its state."""
        reply = None if self._is_dropping else self._active
        if reply is not None:
            self._arm()
        if isinstance(message, bytes):
            if reply is not None:
                await self._sound(reply, message, self._rate_hz)
            return
        event = json.loads(message)
        match event["type"]:
            case "state":
                await self._turned(event["state"])
            case "transcript" if reply is not None and event.get("delta"):
                await reply.words(event["delta"])
            case "client_tool_invocation":
                await self._called(reply, event)

    async def _turned(self, state: str) -> None:
        self._state = state
        if state == "thinking":
            self._has_thought = True
        elif state in ("listening", "idle"):
            was_dropping, self._is_dropping = self._is_dropping, False
            reply = self._active
            if reply is not None and not was_dropping and (reply.has_begun or self._has_thought):
                await self._finish(reply)
                await self._proceed()

    async def _called(self, reply: Reply | None, event: dict[str, Any]) -> None:
        """The vendor waits for the answer; of a tool that goes on by itself it gets one at once that says so."""
        call_id, name = event["invocationId"], event["toolName"]
        self._told.called(call_id, name)
        if reply is None:
            return
        await self._call(reply, (call_id, name, event.get("parameters") or {}))
        if self._function_is_async(name):
            await self._tell("client_tool_result", invocationId=call_id, result=STILL_AT_WORK)
        elif reply is self._active:
            await self._finish(reply)
            await self._proceed()

    # The session.

    async def _opened(self) -> ClientConnection:
        self._tools, self._told = self._tools_offered, Told()
        history = [message for news in self._told.news(self._messages) for message in _messages(news)]
        asked = self._asked | {
            "systemPrompt": instructions(self._messages),
            "initialMessages": history,
            "selectedTools": [_tool(tool) for tool in self._tools],
            "firstSpeakerSettings": {"user": {}},
            "vadSettings": {"turnEndpointDelay": f"{ENDPOINT_MS / 1000}s"},
            "maxDuration": LONGEST_CALL,
            "medium": {
                "serverWebSocket": {
                    "inputSampleRate": self._rate_hz,
                    "outputSampleRate": self._rate_hz,
                    "clientBufferSizeMs": CLIENT_BUFFER_MS,
                }
            },
        }
        try:
            made = await self._http.post(f"{self._server}/api/calls", json=asked, headers={"X-API-Key": self._line.key})
            web.check(made)
            join_url = str(made.json()["joinUrl"])
        except (*web.FAILURES, ValueError, KeyError) as error:
            raise Lost(f"no session: {error}", web.category(error) or conversing.category(error)) from error
        return await self._connected(join_url, {})

    def _is_stale(self) -> bool:
        return (super()._is_stale() and not self._due) or self._tools != self._tools_offered

    def _forget(self) -> None:
        self._ahead_bytes = 0
        self._state, self._is_dropping = "listening", False
        self._early.clear()
        self._due.clear()
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None

    async def _tell(self, kind: str, **fields: Any) -> bool:
        return await self._send(json.dumps({"type": kind, **fields}))


def _text(news: News) -> str:
    """News as words of the caller's side; what is not the caller's is marked as the vendor's guide has it."""
    match news:
        case Said("user", text):
            return text
        case Answered():
            return f"<instruction>{news.name} has answered: {news.answer}</instruction>"
        case Called():
            return f"<instruction>You have used {news.name} with {news.arguments}.</instruction>"
        case _:
            return f"<instruction>{news.text}</instruction>"


def _messages(news: News) -> list[dict[str, Any]]:
    """The past, as a new call is told of it."""
    match news:
        case Called():
            call = {"invocationId": news.call_id, "toolName": news.name}
            return [{"role": "MESSAGE_ROLE_TOOL_CALL", "text": news.arguments, **call}]
        case Answered():
            call = {"invocationId": news.call_id, "toolName": news.name}
            return [{"role": "MESSAGE_ROLE_TOOL_RESULT", "text": news.answer, **call}]
        case Said("system", _):
            return [{"role": _ROLES["system"], "text": _text(news)}]
        case _:
            return [{"role": _ROLES[news.role], "text": news.text}]


def _tool(tool: FunctionSchema) -> dict[str, Any]:
    """A function as a tool whose user is the client."""
    return {
        "temporaryTool": {
            "modelToolName": tool.name,
            "description": tool.description,
            "dynamicParameters": [
                {
                    "name": name,
                    "location": "PARAMETER_LOCATION_BODY",
                    "schema": schema,
                    "required": name in tool.required,
                }
                for name, schema in tool.properties.items()
            ],
            "client": {},
        }
    }
