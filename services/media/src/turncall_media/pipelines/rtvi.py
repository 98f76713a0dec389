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
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineWorker

from turncall_media.pipelines.orders import Orders
from turncall_media.seams import Reporter
from turncall_media.wire.stream import Page
from turncall_proto.call import EndedReason
from turncall_proto.command import Inject
from turncall_proto.events import CallEvent, ToolCalled, ToolReturned, TranscriptFinal, UtteranceBegun, VendorFailed
from turncall_proto.ids import CallId
from turncall_proto.live import TranscriptPartial

PROTOCOL: Final = "2.1.0"
LABEL: Final = "rtvi-ai"
WAITING: Final = 100
"""Texts that may wait until the agent has greeted."""
_OBEYED_WITHIN: Final = timedelta(seconds=10)
_SPEAKING: Final[dict[type[Frame], str]] = {
    UserStartedSpeakingFrame: "user-started-speaking",
    UserStoppedSpeakingFrame: "user-stopped-speaking",
    BotStartedSpeakingFrame: "bot-started-speaking",
    BotStoppedSpeakingFrame: "bot-stopped-speaking",
    InterruptionFrame: "bot-interrupted",
}

_ABOUT: Final = {"library": "turncall-media", "library_version": version("turncall-media")}


class _Message(Struct, frozen=True):
    """The envelope of every message."""

    label: Literal["rtvi-ai"]
    type: str
    id: str = ""
    data: dict[str, Any] | None = None


class _Options(Struct, frozen=True):
    run_immediately: bool = True


class _Text(Struct, frozen=True):
    content: Annotated[str, Meta(min_length=1, max_length=8000)]
    options: _Options | None = None


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

    def follow(self, worker: PipelineWorker, end: Callable[[EndedReason], None]) -> None:
        """Tells the page who speaks, and takes its messages; ``end`` ends the call."""
        worker.set_reached_downstream_filter(tuple(_SPEAKING))
        worker.add_event_handler("on_frame_reached_downstream", self._passed)
        self._end = end
        self._page.listen(self._heard)

    async def attend(self, orders: Orders) -> None:
        """Puts what the page's user writes to the model, for as long as the call lasts."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                text = await self._texts.get()
                order = Inject(
                    command_id=uuid4().hex,
                    call_id=self._call_id,
                    deadline=datetime.now(UTC) + _OBEYED_WITHIN,
                    text=text.content,
                    role="user",
                    is_answered=text.options is None or text.options.run_immediately,
                )
                await orders.obey(order, lambda work: _begun(tasks, work))

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        """States the fact, and tells the page of it."""
        self._reporter.report(kind, **facts)
        for message, data in _told(kind, facts):
            self._tell(message, data)

    def whisper(self, message: Struct) -> None:
        """Tells live feeds, and the page."""
        self._reporter.whisper(message)
        if isinstance(message, TranscriptPartial) and message.speaker == "caller":
            self._tell("user-transcription", _transcription(message.text, is_final=False))

    async def _passed(self, _: PipelineWorker, frame: Frame) -> None:
        self._tell(_SPEAKING[type(frame)], None)

    def _heard(self, text: str) -> None:
        """Answers what needs no pipeline; whatever makes no sense is answered with an error, too."""
        try:
            message = json.decode(text, type=_Message)
        except DecodeError:
            return  # not of this protocol
        try:
            match message.type:
                case "client-ready":
                    self._tell("bot-ready", {"version": PROTOCOL, "about": _ABOUT}, message.id)
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


def _told(kind: type[CallEvent], facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The messages that a fact is to a page."""
    if kind is TranscriptFinal and facts["speaker"] == "caller":
        return [("user-transcription", _transcription(facts["text"], is_final=True))]
    if kind is TranscriptFinal:
        return [("bot-transcription", {"text": facts["text"]})]
    if kind is UtteranceBegun and facts["speaker"] == "agent":
        output = {"text": facts["text"], "spoken": True, "output_type": "sentence", "aggregated_by": "sentence"}
        return [("bot-output", output), ("bot-tts-text", {"text": facts["text"]})]
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
