"""One conversation in calls of Ultravox's: what is sent, what comes back, and whose it is."""

import json
from typing import Any, Final

import httpx2
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema

from turncall_media.stages import channels, web
from turncall_media.stages.channels import Channel, Lost, connected
from turncall_media.stages.eared import EaredService
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.told import Answered, Called, News, Said, instructions

ENDPOINT_MS: Final = 384
"""Silence after which a turn is over; the shortest that Ultravox recommends. Ours are longer, or as long as said."""
LONGEST_CALL: Final = "3600s"
CLIENT_BUFFER_MS: Final = 30_000
"""The reply comes as fast as it is made; what was not played of it is ours to drop."""
_ROLES: Final = {"user": "MESSAGE_ROLE_USER", "assistant": "MESSAGE_ROLE_AGENT", "system": "MESSAGE_ROLE_USER"}


class UltravoxService(EaredService):
    """See the module."""

    CLOSING_MS = 600
    GO_ON = "<instruction>Go on.</instruction>"

    def __init__(
        self, server: str, asked: dict[str, Any], http: httpx2.AsyncClient, line: Line, context: BuildContext
    ) -> None:
        super().__init__(asked["model"], line, context)
        self._server = server
        self._asked = asked
        self._http = http
        self._state = "listening"

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()
        await self._http.aclose()

    # What is sent.

    async def _sound_out(self, pcm: bytes) -> bool:
        return await self._send(pcm)

    async def _tell_answer(self, answer: Answered) -> None:
        await self._tell("client_tool_result", invocationId=answer.call_id, result=answer.answer)

    async def _tell_text(self, text: str, *, is_asked: bool) -> None:
        await self._tell("user_text_message", text=text, urgency="immediate" if is_asked else "later")

    async def _tell_line(self, line: str) -> None:
        await self._tell("forced_agent_message", content=line, urgency="immediate")

    def _put(self, news: News) -> str:
        return _text(news)

    # What comes back.

    async def _take(self, message: str | bytes) -> None:
        event = json.loads(message) if isinstance(message, str) else {}
        if event.get("type") == "transcript" and event["role"] == "user":
            if event.get("final"):
                await self._words_are(event.get("text") or "")
        elif event.get("type") == "playback_clear_buffer":
            self._interrupted()
        else:
            await self._come(message)

    async def _answer(self, message: str | bytes) -> None:
        """Words and sound of the reply that is waited for, tools, and the state of the model."""
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
                await self._called(reply, event["invocationId"], event["toolName"], event.get("parameters") or {})

    async def _turned(self, state: str) -> None:
        self._state = state
        if state == "thinking":
            self._has_thought = True
        elif state in ("listening", "idle"):
            await self._whole()

    def _is_at_work(self) -> bool:
        return self._state != "listening"

    # The session.

    async def _opened(self) -> Channel:
        history = [message for news in self._past() for message in _messages(news)]
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
            raise Lost(f"no session: {error}", web.category(error) or channels.category(error)) from error
        return await connected(self._line, join_url, {})

    def _forget(self) -> None:
        super()._forget()
        self._state = "listening"

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
