"""What a page is told of its call and may ask of it, in RTVI: the messages of Pipecat's client SDKs.

https://docs.pipecat.ai/client/rtvi-standard. Everything else is told as facts; this is for the page alone, and lossy.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from msgspec import DecodeError, Meta, Struct, ValidationError, convert, json
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineWorker

from turncall_media.pipelines.orders import Orders
from turncall_media.seams import Reporter
from turncall_media.stages.exchange import SaidFrame
from turncall_media.wire.stream import Page
from turncall_proto.call import EndedReason
from turncall_proto.command import Inject
from turncall_proto.events import (
    CallEvent,
    ContextInjected,
    ToolCalled,
    ToolReturned,
    TranscriptFinal,
    UtteranceBegun,
    VendorFailed,
)
from turncall_proto.ids import CallId
from turncall_proto.live import TranscriptPartial

PROTOCOL: Final = "2.1.0"
OLDER: Final = "1."
"""Clients of this major version are served, too: it is named to them, and ``bot-output`` has their form."""
LABEL: Final = "rtvi-ai"
WAITING: Final = 100
"""Texts that may wait until the agent has greeted."""
_OBEYED_WITHIN: Final = timedelta(seconds=10)
_HEARD: Final[dict[type[Frame], str]] = {
    UserStartedSpeakingFrame: "user-started-speaking",
    UserStoppedSpeakingFrame: "user-stopped-speaking",
    BotStartedSpeakingFrame: "bot-started-speaking",
    BotStoppedSpeakingFrame: "bot-stopped-speaking",
    InterruptionFrame: "bot-interrupted",
    TTSStartedFrame: "bot-tts-started",
    TTSStoppedFrame: "bot-tts-stopped",
}
"""What has come out at the end of the pipeline has been heard."""

_Told = tuple[str, Mapping[str, Any]]
"""A message's type and its data."""
_ABOUT: Final = {"library": "turncall-media", "library_version": version("turncall-media")}


class _Message(Struct, frozen=True):
    """The envelope of every message."""

    label: Literal["rtvi-ai"]
    type: str
    id: str = ""
    data: dict[str, Any] | None = None


class _Ready(Struct, frozen=True):
    version: str = PROTOCOL


class _Options(Struct, frozen=True):
    run_immediately: bool = True
    audio_response: Literal[True] = True  # what an agent says on a call is spoken


class _Text(Struct, frozen=True):
    content: Annotated[str, Meta(min_length=1, max_length=8000)]
    options: _Options = _Options()


class _Keys(Struct, frozen=True):
    buttons: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9A-D*#]$")], ...], Meta(min_length=1, max_length=32)]


class Rtvi:
    """One page's conversation about its call. It is the call's `Reporter` too: facts that concern the page are told."""

    def __init__(self, page: Page, reporter: Reporter, call_id: CallId) -> None:
        self._page = page
        self._reporter = reporter
        self._call_id = call_id
        self._end: Callable[[EndedReason], None] | None = None
        self._texts: asyncio.Queue[_Text] = asyncio.Queue(WAITING)
        self._output = _Output()

    def follow(self, worker: PipelineWorker, end: Callable[[EndedReason], None]) -> None:
        """Tells the page who speaks, and takes its messages; ``end`` ends the call."""
        worker.set_reached_downstream_filter(tuple(_HEARD))
        worker.add_event_handler("on_frame_reached_downstream", self._passed)
        self._end = end
        self._page.listen(self._heard)

    async def attend(self, orders: Orders) -> None:
        """Puts what the page's user writes to the model, for as long as the call lasts."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                text = await self._texts.get()
                if text.options.run_immediately:
                    await orders.interrupt()
                order = Inject(
                    command_id=uuid4().hex,
                    call_id=self._call_id,
                    deadline=datetime.now(UTC) + _OBEYED_WITHIN,
                    text=text.content,
                    role="user",
                    is_answered=text.options.run_immediately,
                )
                await orders.obey(order, lambda work: _begun(tasks, work))

    def overhear(self, frame: Frame) -> None:
        """Tells what the model writes, as it writes it; what is said of it comes later."""
        match frame:
            case LLMFullResponseStartFrame():
                self._tell("bot-llm-started", None)
            case LLMTextFrame(text=text) | SaidFrame(text=text):
                self._tell("bot-llm-text", {"text": text})
            case LLMFullResponseEndFrame():
                self._tell("bot-llm-stopped", None)

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        """States the fact, and tells the page of it."""
        self._reporter.report(kind, **facts)
        for message, data in [*self._output.told(kind, facts), *_told(kind, facts)]:
            self._tell(message, data)

    def whisper(self, message: Struct) -> None:
        """Tells live feeds, and the page."""
        self._reporter.whisper(message)
        if isinstance(message, TranscriptPartial) and message.speaker == "caller":
            self._tell("user-transcription", _transcription(message.text, is_final=False))

    async def _passed(self, _: PipelineWorker, frame: Frame) -> None:
        self._tell(_HEARD[type(frame)], None)

    def _heard(self, text: str) -> None:
        """Answers what needs no pipeline; whatever makes no sense is answered with an error, too."""
        try:
            message = json.decode(text, type=_Message)
        except DecodeError:
            return  # not of this protocol
        try:
            match message.type:
                case "client-ready":
                    asked = convert(message.data or {}, _Ready).version
                    self._output.is_older = asked.startswith(OLDER)
                    served = asked if self._output.is_older else PROTOCOL
                    self._tell("bot-ready", {"version": served, "about": _ABOUT}, message.id)
                case "send-text":
                    self._texts.put_nowait(convert(message.data, _Text))
                case "dtmf":
                    for button in convert(message.data, _Keys).buttons:
                        self._page.press(button)
                case "disconnect-bot":
                    assert self._end is not None  # set before the page is listened to
                    self._end(EndedReason.CUSTOMER_ENDED_CALL)
                case _:
                    self._tell("error-response", {"error": f"{message.type} is not served here"}, message.id)
        except (ValidationError, asyncio.QueueFull) as error:
            self._tell("error-response", {"error": str(error) or "too many messages"}, message.id)

    def _tell(self, kind: str, data: Mapping[str, Any] | None, answers: str = "") -> None:
        told = {"label": LABEL, "type": kind, "id": answers or uuid4().hex[:8], "data": data}
        self._page.tell(json.encode(told).decode())


class _Output:
    """``bot-output``: what the agent says, by sentences. ``is_older``: as clients of the first protocol know it.

    A sentence is new when its sound has begun, and completed when it was heard; one that is interrupted stays open.
    """

    def __init__(self) -> None:
        self.is_older = False
        self._number = 0
        self._sentence = ""  # the one that is being said

    def told(self, kind: type[CallEvent], facts: Mapping[str, Any]) -> list[_Told]:
        """The messages that a fact is."""
        is_agents = facts.get("speaker") == "agent"
        if kind is UtteranceBegun and is_agents:
            before = self._completed()
            self._number += 1
            self._sentence = facts["text"]
            return [*before, self._message("new", heard="", ahead=self._sentence)]
        if kind is TranscriptFinal and is_agents and not facts["is_interrupted"]:
            return self._completed()
        return []

    def _completed(self) -> list[_Told]:
        if not self._sentence or self.is_older:
            return []
        told = self._message("completed", heard=self._sentence, ahead="")
        self._sentence = ""
        return [told]

    def _message(self, status: str, *, heard: str, ahead: str) -> _Told:
        form = dict.fromkeys(("output_type", "text_type", "aggregated_by"), "sentence")
        if self.is_older:
            return "bot-output", {"text": self._sentence, "spoken": True, **form}
        progress = {"accumulated_text": heard, "remaining_text": ahead}
        spoken = {"will_be_spoken": True, "spoken_status": status, "spoken_progress": progress}
        return "bot-output", {"text": self._sentence, "segment_id": self._number, **spoken, **form}


def _told(kind: type[CallEvent], facts: Mapping[str, Any]) -> list[_Told]:
    """The messages that a fact is to a page, besides ``bot-output``."""
    if kind is TranscriptFinal and facts["speaker"] == "caller":
        transcription = _transcription(facts["text"], is_final=True)
        return [("user-transcription", transcription), ("user-llm-text", {"text": facts["text"]})]
    if kind is TranscriptFinal:
        return [("bot-transcription", {"text": facts["text"]})]
    if kind is ContextInjected and facts["role"] == "user":
        return [("user-llm-text", {"text": facts["text"]})]
    if kind is UtteranceBegun and facts["speaker"] == "agent":
        return [("bot-tts-text", {"text": facts["text"]})]
    if kind is ToolCalled:
        called = {"tool_call_id": facts["tool_call_id"], "function_name": facts["tool"]}
        return [
            ("llm-function-call-started", {"function_name": facts["tool"]}),
            ("llm-function-call-in-progress", called | {"arguments": facts["arguments"]}),
        ]
    if kind is ToolReturned:
        called = {"tool_call_id": facts["tool_call_id"], "function_name": facts["tool"]}
        return [("llm-function-call-stopped", called | {"cancelled": False})]
    if kind is VendorFailed and facts["is_fatal"]:
        return [("error", {"error": f"the vendor of {facts['kind']} failed", "fatal": True})]
    return []


def _begun(tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
    tasks.create_task(work)


def _transcription(text: str, *, is_final: bool) -> dict[str, Any]:
    return {"text": text, "user_id": "", "timestamp": datetime.now(UTC).isoformat(), "final": is_final}
