"""Whole conversations without a network: a carrier that plays and returns marks, vendors that follow a script."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal
from uuid import uuid4

import loguru
import msgspec
import numpy as np
import pytest
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.services.llm_service import FunctionCallFromLLM, LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from turncall_blobs import MemoryStore
from turncall_media import registry
from turncall_media.circuits import Circuits
from turncall_media.pipelines import build
from turncall_media.seams import Outcome, Past, Resources, SocketClosed
from turncall_media.stages.exchange import (
    AnswerFrame,
    CallerTurn,
    CallerWordsFrame,
    HeardUntilFrame,
    SaidFrame,
    SayFrame,
)
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.turns import silero
from turncall_media.wire.stream import Page
from turncall_media.wire.twilio import TwilioWire
from turncall_proto.agent import AgentSpec, Cascade, SpeechToSpeech, Tool, TurnTaking, VendorRef
from turncall_proto.call import CallStart, EndedReason
from turncall_proto.command import ActReply, Command, CommandReply, HandoffReply, TransferOrder
from turncall_proto.events import CallEvent
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId
from turncall_testkit import virtual_time

FRAME_S = 0.02
STREAM = "MZ" + "7" * 32
LOUD = bytes([0x20, 0xA0] * 80)
QUIET = bytes([0xFF] * 160)
CHARACTER_S = 0.05
"""How long the scripted voice takes for a character."""


class Carrier:
    """The far end of a media socket, as Twilio is: it plays what it is sent in real time, and the caller has a voice.

    ``heard`` is one entry for each 20 ms: the mu-law bytes that the caller heard then. While ``arrives`` is not set,
    what the caller says waits before the conversation's end of the socket.
    """

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._queue: list[bytes | str] = []
        self._voice_frames = 0
        self.voice = LOUD  # of the caller, 20 ms
        self.line = QUIET  # what is heard of the caller meanwhile, 20 ms
        self.frames_sent = 0
        self.heard: list[bytes] = []
        self.sent: list[dict[str, Any]] = []
        self.clears_at: list[float] = []
        self.returns_marks = True
        self.is_closed = False
        self.arrives = asyncio.Event()
        self.arrives.set()
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"accountSid": "AC1", "callSid": "CA1", "streamSid": STREAM, "mediaFormat": media_format}
        self._say({"event": "start", "streamSid": STREAM, "start": start | {"customParameters": {}}})
        self._line = asyncio.get_running_loop().create_task(self._run())

    # What the conversation sees.

    async def receive(self) -> str:
        text = None if self.is_closed else await self._inbox.get()
        await self.arrives.wait()
        if text is None:
            self.is_closed = True
            raise SocketClosed(1006)
        return text

    async def send(self, text: str) -> None:
        if self.is_closed:
            raise SocketClosed(1006)
        message = json.loads(text)
        self.sent.append(message)
        assert message["streamSid"] == STREAM
        match message["event"]:
            case "media":
                self._queue.append(base64.b64decode(message["media"]["payload"], validate=True))
            case "mark":
                self._queue.append(message["mark"]["name"])
            case "clear":
                self.clears_at.append(self.now())
                marks = [item for item in self._queue if isinstance(item, str)]
                self._queue.clear()
                self._return(marks)
            case other:
                raise AssertionError(f"Twilio has no message {other}")

    async def close(self, code: int, reason: str) -> None:
        self.is_closed = True

    # What a test does as the caller.

    async def speak(self, seconds: float) -> None:
        """Speaks for so long."""
        self._voice_frames = round(seconds / FRAME_S)
        await asyncio.sleep(seconds)

    def press(self, digit: str) -> None:
        self._say({"event": "dtmf", "streamSid": STREAM, "dtmf": {"track": "inbound_track", "digit": digit}})

    def babble(self, text: str = "{") -> None:
        """A frame that makes no sense."""
        self._inbox.put_nowait(text)

    def hang_up(self) -> None:
        """The caller hangs up: a stop message, then the socket closes."""
        self._say({"event": "stop", "streamSid": STREAM, "stop": {}})
        self.drop()

    def drop(self) -> None:
        """The socket is lost."""
        self._inbox.put_nowait(None)
        self._line.cancel()

    async def until(self, condition: Callable[[], Any], within_s: float = 30.0) -> None:
        """Waits for something to become true."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - conditions are about what was heard; a frame is their grain
                await asyncio.sleep(FRAME_S)

    @property
    def is_agent_heard(self) -> bool:
        """Whether the caller hears the agent at this moment."""
        return bool(self.heard) and self.heard[-1] != QUIET

    def heard_s(self) -> float:
        """How much of the agent the caller has heard, all in all."""
        return sum(len(frame) - frame.count(0xFF) for frame in self.heard) / 8000

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _run(self) -> None:
        """Keeps time by the clock, not by its sleeps."""
        began_s = self.now()
        while True:
            payload = self.voice if self._voice_frames > 0 else self.line
            self._voice_frames -= 1
            timestamp = str(20 * self.frames_sent)
            media = {"track": "inbound", "timestamp": timestamp, "payload": base64.b64encode(payload).decode()}
            self._say({"event": "media", "streamSid": STREAM, "media": media})
            self.frames_sent += 1
            self._play()
            await asyncio.sleep(max(0.0, began_s + self.frames_sent * FRAME_S - self.now()))

    def _play(self) -> None:
        frame = bytearray()
        while self._queue and (len(frame) < 160 or isinstance(self._queue[0], str)):
            head = self._queue.pop(0)
            if isinstance(head, str):
                self._return([head])
                continue
            wanted = 160 - len(frame)
            frame += head[:wanted]
            if len(head) > wanted:
                self._queue.insert(0, head[wanted:])
        self.heard.append(bytes(frame.ljust(160, b"\xff")))

    def _return(self, marks: list[str]) -> None:
        for name in marks if self.returns_marks else []:
            self._say({"event": "mark", "streamSid": STREAM, "mark": {"name": name}})

    def _say(self, message: dict[str, Any]) -> None:
        self._inbox.put_nowait(json.dumps(message))


class LoudEar:
    """Takes whatever is loud for speech."""

    def __init__(self, *_: Any) -> None: ...

    def score(self, window: np.ndarray) -> float:
        return 0.95 if np.abs(window).max() > 3000 else 0.01

    def reset(self) -> None: ...


class Call(msgspec.Struct, frozen=True):
    """A scripted model's wish to use a tool, after it has said ``text``."""

    tool: str
    arguments: dict[str, Any]
    text: str = ""


class Half(str):
    """What a scripted model says before it is lost."""


class Script:
    """What the vendors of one test do. ``Exception`` in a list is raised in that place."""

    def __init__(self) -> None:
        self.caller: list[str | Exception] = []
        self.replies: list[str | Call | Exception] = []
        self.contexts: list[list[dict[str, Any]]] = []
        self.tools: list[list[str]] = []
        self.llm_s = 0.05
        self.words_s = 0.0  # until a model that hears by itself has written the caller's words down
        self.heard_until: list[int] = []
        self.voice_fails = 0
        self.voice_breaks_in = ""  # the sentence that begins so is cut in its middle
        self.chunk_s = 0.001  # from one tenth of a second of a voice to the next
        self.voice_s = 0.0
        self.heard_ms: list[int] = []  # of each utterance, up to its end
        self.connect_s = 0.0
        self.is_stubborn = False
        self.is_streamed = False
        self.spoken: list[str] = []
        self.ear = bytearray()  # all that the speech to text was given

    def breaks(self, sentence: str) -> bool:
        """Whether the voice breaks off in the middle of it."""
        return bool(self.voice_breaks_in) and sentence.startswith(self.voice_breaks_in)


class ScriptedStt(STTService):
    """Gives the next line of the script when the caller falls silent."""

    def __init__(self, script: Script) -> None:
        super().__init__(ttfs_p99_latency=1.0, settings=STTSettings(model="ear-1", language=None))
        self._script = script
        self._unheard_ms = 0

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._unheard_ms += len(frame.audio) // 16
            self._script.ear += frame.audio
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._script.heard_ms.append(self._unheard_ms)
            self._unheard_ms = 0
        if isinstance(frame, VADUserStoppedSpeakingFrame) and self._script.caller:
            line = self._script.caller.pop(0)
            if isinstance(line, Exception):
                await self.push_error("the ear is out of order", line)
                return
            await self.push_frame(InterimTranscriptionFrame(line[:5], "", ""))
            await self.push_frame(TranscriptionFrame(line, "", "", finalized=True))


class ScriptedLlm(LLMService[Any]):
    """Gives the next reply of the script, a word at a time."""

    def __init__(self, script: Script) -> None:
        unused = [field.name for field in fields(LLMSettings) if field.name not in ("model", "extra")]
        settings = LLMSettings(model="mind-1", **dict.fromkeys(unused))
        super().__init__(settings=settings)
        self._script = script

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        await asyncio.sleep(self._script.connect_s)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            await self._reply(frame)
        else:
            await self.push_frame(frame, direction)

    async def _reply(self, frame: LLMContextFrame) -> None:
        self._script.contexts.append(json.loads(json.dumps(frame.context.get_messages())))
        offered = frame.context.tools
        standard = offered.standard_tools if isinstance(offered, ToolsSchema) else []
        self._script.tools.append([tool.description for tool in standard])
        reply = self._script.replies.pop(0) if self._script.replies else "I have nothing to say."
        if isinstance(reply, Exception):
            await self.push_error("the mind is out of order", reply)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        if self._script.is_stubborn:
            await _resist(self._script)
            return
        await asyncio.sleep(self._script.llm_s)
        for word in (reply.text if isinstance(reply, Call) else reply).split():
            await self.push_frame(LLMTextFrame(word + " "))
        if isinstance(reply, Half):
            await self.push_error("the mind was lost", ConnectionError("reset"))
        if isinstance(reply, Call):
            await self.run_function_calls(
                [FunctionCallFromLLM(reply.tool, f"tool-{len(self._script.contexts)}", reply.arguments, frame.context)]
            )
        await self.push_frame(LLMFullResponseEndFrame())


async def _resist(script: Script) -> None:
    """Heeds no cancellation."""
    while script.is_stubborn:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1.0)


class BrokenOff(Exception):
    """A model that hears and speaks is gone in the middle of a sentence."""


class ScriptedSpeech(LLMService[Any]):
    """Hears, thinks and speaks as the three others do; the caller's words come ``words_s`` behind their turn."""

    def __init__(self, script: Script) -> None:
        unused = [field.name for field in fields(LLMSettings) if field.name not in ("model", "extra")]
        super().__init__(settings=LLMSettings(model="duplex-1", **dict.fromkeys(unused)))
        self._script = script
        self._turn = CallerTurn()
        self.conversation = LLMContext()

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        await asyncio.sleep(self._script.connect_s)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                self._turn.hear(frame.audio)
            case AnswerFrame():
                self._script.heard_ms.append(len(self._turn.end()) // 16)
                await self._answer(frame)
            case LLMContextFrame():
                await self._reply()
            case SayFrame():
                await self.push_frame(LLMFullResponseStartFrame())
                await self._speak(frame.text, is_kept=frame.is_kept)
                await self.push_frame(LLMFullResponseEndFrame())
            case HeardUntilFrame():
                self._script.heard_until.append(frame.heard_ms)
            case _:
                if isinstance(frame, VADUserStartedSpeakingFrame):
                    self._turn.begin()
                await self.push_frame(frame, direction)

    async def _answer(self, asked: AnswerFrame) -> None:
        line = self._script.caller.pop(0) if self._script.caller else ""
        if isinstance(line, Exception):
            await self.push_error("the ear is out of order", line)
            return
        if self._script.words_s:
            self.create_task(self._write_down(asked.turn, line), "write down")
        else:
            await self._write_down(asked.turn, line)
        if not asked.is_answered:
            return
        if line:
            await self._reply()
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMFullResponseEndFrame())

    async def _write_down(self, turn: int, line: str) -> None:
        await asyncio.sleep(self._script.words_s)
        await self.push_frame(CallerWordsFrame(turn, line[:5], is_final=False))
        await self.push_frame(CallerWordsFrame(turn, line))

    async def _reply(self) -> None:
        self._script.contexts.append(json.loads(json.dumps(self.conversation.get_messages())))
        offered = self.conversation.tools
        standard = offered.standard_tools if isinstance(offered, ToolsSchema) else []
        self._script.tools.append([tool.description for tool in standard])
        reply = self._script.replies.pop(0) if self._script.replies else "I have nothing to say."
        if isinstance(reply, Exception):
            await self.push_error("the mind is out of order", reply)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        if self._script.is_stubborn:
            await _resist(self._script)
            return
        await asyncio.sleep(self._script.llm_s)
        try:
            await self._speak(reply.text if isinstance(reply, Call) else reply, is_kept=True)
            if isinstance(reply, Half):
                raise BrokenOff
        except BrokenOff:
            await self.push_error("the session was lost", ConnectionError("reset"))
            return
        if isinstance(reply, Call):
            name = f"tool-{len(self._script.contexts)}"
            await self.run_function_calls([FunctionCallFromLLM(reply.tool, name, reply.arguments, self.conversation)])
        await self.push_frame(LLMFullResponseEndFrame())

    async def _speak(self, text: str, *, is_kept: bool) -> None:
        if not text:
            return
        self._script.spoken.append(text)
        reply_id = f"reply-{len(self._script.spoken)}"
        await self.push_frame(TTSStartedFrame(context_id=reply_id, append_to_context=is_kept))
        for sentence in re.split(r"(?<=[.!?]) ", text):
            await self.push_frame(SaidFrame(sentence))
            chunks, breaks = _tone(sentence), self._script.breaks(sentence)
            for chunk in chunks[: len(chunks) // 2] if breaks else chunks:
                await self.push_frame(TTSAudioRawFrame(chunk, 8000, 1, context_id=reply_id))
                await asyncio.sleep(self._script.chunk_s)
            if breaks:
                raise BrokenOff
        await self.push_frame(TTSStoppedFrame(context_id=reply_id))


class ScriptedTts(TTSService):
    """A tone, as long as the text."""

    def __init__(self, script: Script) -> None:
        settings = TTSSettings(model="voice-1", voice=None, language=None)
        super().__init__(push_start_frame=True, push_stop_frames=True, settings=settings)
        self._script = script
        self._streams: list[asyncio.Task[None]] = []

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        if self._script.voice_fails:
            self._script.voice_fails -= 1
            await self.push_error("the voice is out of order", ConnectionError("refused"))
            return
        self._script.spoken.append(text)
        await asyncio.sleep(self._script.voice_s)
        if self._script.is_streamed:  # as a vendor on a socket: the audio comes later, from another task
            self._streams.append(asyncio.create_task(self._stream(text, context_id)))
            yield None
            return
        chunks, breaks = _tone(text), self._script.breaks(text)
        for chunk in chunks[: len(chunks) // 2] if breaks else chunks:
            yield TTSAudioRawFrame(chunk, 8000, 1, context_id=context_id)
            await asyncio.sleep(self._script.chunk_s)
        if breaks:
            yield ErrorFrame("the voice broke off", exception=ConnectionError("reset"))

    async def _stream(self, text: str, context_id: str) -> None:
        await asyncio.sleep(0.1)
        for chunk in _tone(text):
            await self.append_to_audio_context(context_id, TTSAudioRawFrame(chunk, 8000, 1, context_id=context_id))
        await self.remove_audio_context(context_id)


def _tone(text: str) -> list[bytes]:
    return [np.full(800, 8000, "<i2").tobytes()] * max(1, round(len(text) * CHARACTER_S / 0.1))


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scripted vendors have none."""


class Facts:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.all: list[tuple[type[CallEvent], dict[str, Any]]] = []
        self.whispers: list[msgspec.Struct] = []

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        header = {"call_id": "call_1", "project_id": "prj_1", "epoch": 1, "seq": len(self.all) + 1, "at": NOON}
        msgspec.convert(msgspec.to_builtins(kind(**header, **facts)), kind)  # as the contract has it, bounds included
        self.all.append((kind, facts))

    def whisper(self, message: msgspec.Struct) -> None:
        self.whispers.append(message)

    def of(self, kind: type[CallEvent]) -> list[SimpleNamespace]:
        return [SimpleNamespace(**facts) for known, facts in self.all if known is kind]


WORKER = WorkerId("wrk_" + "2" * 32)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Scene:
    """One call on stage: the carrier, what the vendors do, what was reported and asked."""

    def __init__(self, agent: AgentSpec, script: Script, resources: dict[str, Any]) -> None:
        self.carrier = Carrier()
        self.script = script
        self.facts = Facts()
        self.hang_ups: list[tuple[EndedReason, float]] = []
        self._agent = agent
        self._resources = resources
        self.plan = a_plan(agent)
        self.past: Past | None = None
        self.running: asyncio.Task[Outcome] | None = None
        self.conversation: Any = None
        self.opened_at_s = 0.0
        self.transfers: list[tuple[TransferOrder, str]] = []
        self.transfer_reply = ActReply(is_taken=True)
        self.links: list[tuple[str, str, str]] = []
        self.opt_out_replies: list[ActReply] = []
        self.given_to: list[tuple[AgentId, str]] = []
        self.handoff_reply = HandoffReply(plan=None, detail="there is no such agent")
        self.page: Page | None = None  # of a call that comes from one

    async def begin(self) -> None:
        """Answers the call."""
        wire: Any = TwilioWire(self.carrier)
        wire.page = self.page
        await wire.open(1.0)
        self.opened_at_s = wire.opened_at_s
        resources = Resources(**{**self._defaults(), **self._resources})
        self.conversation = build.build_conversation(self.plan, wire, self.facts, resources, self.past)
        self.running = asyncio.create_task(self._serve())

    async def _serve(self) -> Outcome:
        """What a session does with its conversation, and control with a hang-up."""
        outcome: Outcome = await self.conversation.run()
        if outcome.reason not in (None, EndedReason.CUSTOMER_ENDED_CALL):
            self.hang_ups.append((outcome.reason, self.carrier.now()))
            self.carrier.hang_up()
        await self.conversation.finish()
        return outcome

    async def tell(self, kind: type[Command], **what: Any) -> CommandReply:
        """What a person asks of the call, and what it says to that."""
        command = kind(command_id=uuid4().hex, call_id=self.plan.call_id, deadline=NOON, **what)
        reply: CommandReply = await self.conversation.obey(command)
        return reply

    async def outcome(self) -> Outcome:
        """Waits for the end; nothing may be left running."""
        assert self.running is not None
        outcome = await self.running
        self.carrier.drop()
        await asyncio.sleep(0.1)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return outcome

    def transcript(self) -> list[tuple[str, str]]:
        """Who said what, as reported."""
        from turncall_proto.events import TranscriptFinal

        return [(fact.speaker, fact.text) for fact in self.facts.of(TranscriptFinal)]

    async def hand_off(self, agent_id: AgentId, reason: str) -> HandoffReply:
        """Control's answer to the wish for another agent."""
        self.given_to.append((agent_id, reason))
        return self.handoff_reply

    async def transfer(self, order: TransferOrder, tool: str) -> ActReply:
        """Control's answer to the wish for a person."""
        self.transfers.append((order, tool))
        return self.transfer_reply

    async def send_link(self, url: str, text: str, use_id: str) -> None:
        """Control, which sends everything."""
        self.links.append((url, text, use_id))

    async def opt_out(self) -> ActReply:
        """Control's answer to who does not want to be called again."""
        return self.opt_out_replies.pop(0)

    def _defaults(self) -> dict[str, Any]:
        return {
            "worker": WORKER,
            "now": lambda: NOON + timedelta(seconds=self.carrier.now()),
            "open_secret": lambda sealed: f"opened {sealed}",
            "blobs": MemoryStore(),
            "egress_allow": ("127.0.0.0/8",),
            "recordings_spool": Path("/nonexistent"),
            "circuits": Circuits(self.carrier.now),
            "hand_off": self.hand_off,
            "transfer": self.transfer,
            "send_link": self.send_link,
            "opt_out": self.opt_out,
        }


def a_plan(agent: AgentSpec) -> CallStart:
    """The plan of a phone call."""
    return CallStart(
        call_id=CallId("call_" + "c" * 32),
        project_id=ProjectId("prj_" + "a" * 32),
        epoch=1,
        agent_id=AgentId("agt_" + "a" * 32),
        version_id=VersionId("ver_" + "a" * 32),
        agent=agent,
        channel="phone",
        direction="inbound",
        from_number="+15550001",
        to_number="+15550002",
        provider="twilio",
        provider_call_id="CA1",
        planned_at=NOON,
    )


def an_agent(
    first_message: str = "", tools: tuple[Tool, ...] = (), max_duration_s: int = 600, **taking: Any
) -> AgentSpec:
    """An agent of scripted vendors. ``taking`` are fields of `TurnTaking`."""
    scripted = VendorRef(vendor="scripted")
    return AgentSpec(
        pipeline=Cascade(stt=scripted, llm=scripted, tts=scripted),
        language="en-US",
        prompt="You are on the phone.",
        first_message=first_message,
        turn_taking=TurnTaking(**taking),
        max_duration_s=max_duration_s,
        recording="off",
        tools=tools,
    )


Play = Callable[[Scene], Coroutine[Any, Any, None]]


class Stage:
    """Where calls are played, in virtual time."""

    def __init__(self) -> None:
        self.script = Script()
        self.understudies: dict[str, Script] = {}  # of vendors that are not called "scripted"
        self.built_with: dict[str, BuildContext] = {}
        self.pipeline: Literal["cascade", "speech"] = "cascade"
        self.mind: Literal["llm", "speech"] = "llm"  # the stage that replies
        self.call = Call
        self.half = Half

    def an_agent(self, *args: Any, **fields: Any) -> AgentSpec:
        """As `an_agent`, with the pipeline of this stage."""
        made = an_agent(*args, **fields)
        if self.pipeline == "cascade":
            return made
        scripted = VendorRef(vendor="scripted")
        pipeline = SpeechToSpeech(model=scripted, apology_voice=scripted)
        return msgspec.structs.replace(made, pipeline=pipeline)

    def to_deaf_ears(self, *lines: str) -> tuple[str, ...]:
        """Lines of a caller who is not listened to: only a speech to text, which stands before that, gets them."""
        return lines if self.pipeline == "cascade" else ()

    def scene(self, agent: AgentSpec, **resources: Any) -> "Scene":
        """A call that has not begun, for a test with a loop of its own."""
        return Scene(agent, self.script, resources)

    def play(
        self,
        agent: AgentSpec,
        act: Play,
        *,
        past: Past | None = None,
        plan: dict[str, Any] | None = None,
        page: Page | None = None,
        **resources: Any,
    ) -> Scene:
        """Answers a call with ``agent``, of which ``past`` is known, and does ``act``; returns when that is done.

        ``plan`` are fields of its plan; ``page`` is where the call comes from.
        """

        async def perform() -> Scene:
            scene = Scene(agent, self.script, resources)
            scene.page = page
            scene.plan = msgspec.structs.replace(scene.plan, **plan or {})
            scene.past = past
            if past is not None:
                scene.plan = msgspec.structs.replace(scene.plan, epoch=2)
            await scene.begin()
            async with asyncio.timeout(3600):
                await act(scene)
            return scene

        return virtual_time.run(perform())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Pipecat writes a line for every step; nobody reads them here."""
    loguru.logger.disable("pipecat")
    yield
    loguru.logger.enable("pipecat")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Stage:
    """A stage with scripted vendors and a caller whose voice is loudness; its parameter, if any, is the pipeline."""
    made = Stage()
    if getattr(request, "param", "cascade") == "speech":
        made.pipeline = made.mind = "speech"
    services: dict[str, Callable[[Script], FrameProcessor]] = {
        "stt": ScriptedStt,
        "llm": ScriptedLlm,
        "tts": ScriptedTts,
        "speech": ScriptedSpeech,
    }

    def load(kind: str, vendor: str) -> Any:
        script = made.script if vendor == "scripted" else made.understudies[vendor]
        module: Any = ModuleType(kind)
        module.CAPABILITIES = Capabilities(needs_secret=False)
        module.Options = Options

        def build_one(_: Options, context: BuildContext) -> FrameProcessor:
            assert context.rate_hz == 8000
            made.built_with[kind] = context
            service = services[kind](script)
            if isinstance(service, ScriptedSpeech):
                assert context.conversation is not None
                service.conversation = context.conversation
            return service

        module.build = build_one
        return module

    monkeypatch.setattr(registry, "load", load)
    monkeypatch.setattr(silero, "Ear", LoudEar)
    return made
