"""One conversation over Nova Sonic's events: what is sent, what comes back, and whose it is.

https://docs.aws.amazon.com/nova/latest/nova2-userguide/sonic-input-events.html and …/sonic-output-events.html. All
sound is one content that stays open. A session lasts eight minutes, so another one takes over before.
"""

import asyncio
import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from botocore.credentials import Credentials
from pipecat.metrics.metrics import LLMTokenUsage

from turncall_media.providers.aws.access import Signer
from turncall_media.providers.aws.stream import EventStream, opened
from turncall_media.stages.channels import introduced, reached
from turncall_media.stages.conversing import VERBATIM
from turncall_media.stages.eared import EaredService
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line
from turncall_media.stages.replying import Reply
from turncall_media.stages.told import Answered, Called, News, Said, instructions

LONGEST_S: Final = 420.0
CONFIRMED_WITHIN_S: Final = 1.0
LARGEST_TEXT: Final = 1000
"""Bytes of one ``textInput``; Nova takes a kilobyte."""
LONGEST_PAST: Final = 40_000
"""Bytes of what was said before; of more the newest."""
PIECE_MS: Final = 100
BEGINNING: Final = "(The call begins.)"
"""The past begins with the caller, who may have been called."""
_SAMPLE: Final = {"mediaType": "audio/lpcm", "sampleSizeBits": 16, "channelCount": 1, "encoding": "base64"}


class Content(NamedTuple):
    """What a piece that comes belongs to: whose, of what type, and whether it is said already."""

    role: str
    kind: str
    stage: str


class SonicService(EaredService):
    """See the module."""

    CLOSING_MS = 1700  # at the highest sensitivity a pause of 1.5 s ends a turn
    GO_ON = "(Go on.)"

    def __init__(
        self,
        model: str,
        voice: str,
        inference: dict[str, Any],
        line: Line,
        key: Credentials,
        region: str,
        context: BuildContext,
    ) -> None:
        super().__init__(model, line, context)
        self._path = f"/model/{quote(model, safe='')}/invoke-with-bidirectional-stream"
        self._voice = voice
        self._inference = inference
        self._key = key
        self._region = region
        self._prompt = self._ear = ""  # the names of the session's prompt, and of the content that is heard
        self._contents: dict[str, Content] = {}  # under way
        self._words = ""  # of the caller, since the model last spoke
        self._is_speaking = False
        self._expiry: asyncio.TimerHandle | None = None

    # What is sent.

    async def _sound_out(self, pcm: bytes) -> bool:
        step = PIECE_MS * self._bytes_per_ms
        is_sent = self._socket is not None
        for start in range(0, len(pcm), step):
            sound = b64encode(pcm[start : start + step]).decode()
            is_sent = await self._send(self._event("audioInput", self._ear, content=sound))
        return is_sent

    async def _request(self, reply: Reply) -> None:
        await super()._request(reply)
        self._has_thought = self._has_thought or bool(self._words)

    async def _tell_answer(self, answer: Answered) -> None:
        name, known = str(uuid.uuid4()), {"toolUseId": answer.call_id, "type": "TEXT"}
        await self._send_all(
            self._event(
                "contentStart",
                name,
                interactive=False,
                type="TOOL",
                role="TOOL",
                toolResultInputConfiguration={**known, "textInputConfiguration": {"mediaType": "text/plain"}},
            ),
            self._event("toolResult", name, content=answer.answer),
            self._event("contentEnd", name),
        )

    async def _tell_text(self, text: str, *, is_asked: bool) -> None:
        await self._send_all(*self._text("USER", text, is_interactive=is_asked))

    async def _tell_line(self, line: str) -> None:
        await self._tell_text(VERBATIM + line, is_asked=True)

    def _put(self, news: News) -> str:
        return spoken(news)[1]

    async def _send_all(self, *events: str) -> None:
        for event in events:
            await self._send(event)

    # What comes back.

    async def _take(self, message: str | bytes) -> None:
        ((kind, fields),) = json.loads(message)["event"].items()
        if kind == "usageEvent":
            await self.start_llm_usage_metrics(_usage(fields["details"]["delta"]))
            return
        number = fields.get("contentId", "")
        if kind == "contentStart":
            stage = json.loads(fields.get("additionalModelFields") or "{}").get("generationStage", "")
            self._contents[number] = Content(fields["role"], fields["type"], stage)
        content = self._contents.get(number)
        if kind == "contentEnd":
            self._contents.pop(number, None)
        if content is not None and content.role == "USER":
            if kind == "textOutput":
                await self._hear(fields["content"])
        elif kind == "contentEnd" and fields["stopReason"] == "INTERRUPTED":
            await self._stopped()
        else:
            await self._come((kind, fields, content))

    async def _hear(self, text: str) -> None:
        self._words = f"{self._words} {text}".strip()
        self._has_thought = True
        if self._active is not None:
            self._arm()
        if self._due:
            await self._heard(self._due[0], self._words, is_final=False)

    async def _answer(self, message: tuple[str, dict[str, Any], Content | None]) -> None:
        """What is to be said, its sound, and tools. What was said, at last, we know."""
        kind, fields, content = message
        reply = None if self._is_dropping else self._active
        if reply is not None:
            self._arm()
        match kind:
            case "contentStart" if content is not None and content.stage != "FINAL":
                await self._begun()
            case "textOutput" if reply is not None and content is not None and content.stage == "SPECULATIVE":
                await reply.words(f"{fields['content'].strip()} ")
            case "audioOutput" if reply is not None:
                await self._sound(reply, b64decode(fields["content"]), self._rate_hz)
            case "toolUse":
                await self._called(reply, fields["toolUseId"], fields["toolName"], _arguments(fields["content"]))
            case "contentEnd" if content is not None and content.kind == "AUDIO":
                if fields["stopReason"] == "END_TURN":
                    await self._ended()
            case "completionEnd" if self._is_speaking:
                await self._ended()

    async def _begun(self) -> None:
        """The model has understood, so all of the caller's words are here."""
        self._is_speaking = self._has_thought = True
        words, self._words = self._words, ""
        if words:
            await self._words_are(words)

    async def _ended(self) -> None:
        self._is_speaking = False
        await self._whole()

    async def _stopped(self) -> None:
        """The model has heard the caller; of what it was saying no more will come."""
        self._interrupted()
        await self._ended()

    def _is_at_work(self) -> bool:
        return self._is_speaking

    # The session.

    async def _opened(self) -> EventStream:
        stream = await reached(self._line, opened(self._line, self._path, Signer(self._key, self._region)))
        await introduced(self._line, stream, self._introduce)
        self._expiry = asyncio.get_running_loop().call_later(LONGEST_S, self._expire)
        return stream

    async def _introduce(self, stream: EventStream) -> None:
        """Instructions and tools, the past, and the content of all that will be heard."""
        self._prompt, self._ear = str(uuid.uuid4()), str(uuid.uuid4())
        past = list(self._past())
        rate = {**_SAMPLE, "sampleRateHertz": self._rate_hz, "audioType": "SPEECH"}
        prompt: dict[str, Any] = {
            "textOutputConfiguration": {"mediaType": "text/plain"},
            "audioOutputConfiguration": {**rate, "voiceId": self._voice},
        }
        if self._tools:
            prompt["toolUseOutputConfiguration"] = {"mediaType": "application/json"}
            prompt["toolConfiguration"] = {"tools": [_tool(tool.to_default_dict()) for tool in self._tools]}
        session = {
            "inferenceConfiguration": self._inference,
            "turnDetectionConfiguration": {"endpointingSensitivity": "HIGH"},
        }
        await stream.send(json.dumps({"event": {"sessionStart": session}}))
        await stream.send(self._event("promptStart", None, **prompt))
        for role, text in (("SYSTEM", instructions(self._messages)), *history(past)):
            for event in self._text(role, text, is_interactive=False):
                await stream.send(event)
        heard = {"interactive": True, "type": "AUDIO", "role": "USER", "audioInputConfiguration": rate}
        await stream.send(self._event("contentStart", self._ear, **heard))
        stream.goodbye = (
            self._event("contentEnd", self._ear),
            self._event("promptEnd", None),
            json.dumps({"event": {"sessionEnd": {}}}),
        )
        await stream.confirmed(CONFIRMED_WITHIN_S)

    def _expire(self) -> None:
        self._is_outdated = True
        self.create_task(self._proceed(), "expire")

    def _forget(self) -> None:
        super()._forget()
        self._contents.clear()
        self._words, self._is_speaking = "", False
        self._cancel_expiry()

    async def _close(self) -> None:
        self._cancel_expiry()
        await super()._close()

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _text(self, role: str, text: str, *, is_interactive: bool) -> Iterator[str]:
        """The events of one text; none for an empty one."""
        if not text:
            return
        name = str(uuid.uuid4())
        yield self._event(
            "contentStart",
            name,
            type="TEXT",
            interactive=is_interactive,
            role=role,
            textInputConfiguration={"mediaType": "text/plain"},
        )
        for part in [text] if role == "SYSTEM" else parts(text):
            yield self._event("textInput", name, content=part)
        yield self._event("contentEnd", name)

    def _event(self, kind: str, name: str | None, **fields: Any) -> str:
        names = {"promptName": self._prompt} | ({} if name is None else {"contentName": name})
        return json.dumps({"event": {kind: {**names, **fields}}})


def spoken(news: News) -> tuple[str, str]:
    """News as somebody's words: the roles are two."""
    match news:
        case Said("assistant", text):
            return "ASSISTANT", text
        case Said("user", text):
            return "USER", text
        case Called():
            return "USER", f"(You have used {news.name} with {news.arguments}.)"
        case Answered():
            return "USER", f"({news.name} has answered: {news.answer})"
        case _:
            return "USER", f"(Not from the caller: {news.text})"


def history(past: Iterable[News]) -> list[tuple[str, str]]:
    """What was said, with roles that alternate, beginning with the caller: the newest of it that Nova takes."""
    told: list[tuple[str, str]] = []
    for role, text in map(spoken, past):
        if told and told[-1][0] == role:
            told[-1] = (role, f"{told[-1][1]}\n{text}")
        else:
            told.append((role, text))
    while told and sum(len(text.encode()) for _, text in told) > LONGEST_PAST:
        del told[0]
    return [("USER", BEGINNING), *told] if told and told[0][0] != "USER" else told


def parts(text: str) -> list[str]:
    """The text in pieces of at most `LARGEST_TEXT` bytes."""
    found, size = [""], 0
    for letter in text:
        width = len(letter.encode())
        if size + width > LARGEST_TEXT:
            found.append("")
            size = 0
        found[-1] += letter
        size += width
    return found


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    schema = {"json": json.dumps(function["parameters"])}
    return {"toolSpec": {"name": function["name"], "description": function["description"], "inputSchema": schema}}


def _arguments(content: str) -> Any:
    try:
        return json.loads(content or "{}")
    except ValueError:
        return None


def _usage(delta: dict[str, Any]) -> LLMTokenUsage:
    read, said = delta.get("input") or {}, delta.get("output") or {}
    heard, spoke = read.get("speechTokens") or 0, said.get("speechTokens") or 0
    prompt, completion = heard + (read.get("textTokens") or 0), spoke + (said.get("textTokens") or 0)
    return LLMTokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        input_audio_tokens=heard,
        output_audio_tokens=spoke,
    )
