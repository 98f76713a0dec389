"""Ten conversations that every agent must be able to have, with three vendors one behind the other and with one model
that hears and speaks: all at the same time, on one installation, over the carrier's own wire.

Each is held against what its caller heard, what was kept of the call, and what happened in it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from turncall.client.shapes import CallView, StoredFact, ToolUse, Utterance
from turncall.demo.provision import receptionist
from turncall.demo.record import every_fact, holes
from turncall_phone.caller import (
    AnyStep,
    Busy,
    HangUp,
    Interrupt,
    Machine,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForHangUp,
    samples_of,
)
from turncall_phone.calls import Call
from turncall_phone.journal import ScriptEnded
from turncall_proto.agent import (
    AgentSpec,
    Cascade,
    Fallbacks,
    HandoffTarget,
    HandoffTool,
    SpeechToSpeech,
    TransferDestination,
    TransferTool,
    TurnTaking,
    VendorRef,
    Voicemail,
    WebhookTool,
)
from turncall_proto.ids import AgentId
from turncall_testkit.audio import sounding_ms
from turncall_testkit.house import House, conversation, reached, said

from .scripted import hears_hours, knowing, scripted, served_by

LASTS_S: Final = 120.0
FRAME: Final = 160
NOBODY: Final = "http://127.0.0.1:9009/nobody"
LONG_STORY: Final = (
    "Before we begin, let me tell you about our practice. We opened our doors many years ago in a small street behind "
    "the station. Since then we have moved twice, and we have grown to a team of nine people who like what they do. "
    "We look after teeth of every age, and we take our time for everybody who comes to see us."
)
OPEN: Final = "We are open from Monday to Friday, from nine to five."
TONE: Final = "please leave a message after the tone"
MESSAGE: Final = "Hello, your appointment is tomorrow at nine."
OTHER: Final = {"cascade": "speech", "speech": "cascade"}


class Kept(Struct, frozen=True):
    """What the installation kept of a call."""

    view: CallView
    spoken: tuple[Utterance, ...]
    tools: tuple[ToolUse, ...]
    facts: list[StoredFact]

    def of(self, *types: str) -> list[StoredFact]:
        """The facts of these types, in order."""
        return [fact for fact in self.facts if fact.type in types]

    def uses_of(self, tool: str) -> list[ToolUse]:
        """Each use of a tool."""
        return [use for use in self.tools if use.tool == tool]

    def texts(self, speaker: str) -> list[str]:
        """What one side said."""
        return [words.text for words in self.spoken if words.speaker == speaker]


class Room(Struct, frozen=True):
    """The installation, and the kind of pipeline that serves in it."""

    house: House
    kind: str

    def receptionist(self, **fields: Any) -> AgentSpec:
        """The demonstration's, changed."""
        return replace(served_by(receptionist(self.house.tool_url), self.kind), **fields)

    async def phone(self, agent: AgentSpec, *steps: AnyStep, by: str) -> tuple[Call, Kept]:
        """A caller who follows the steps, and what is kept of the call when it is over."""
        _, number = await self.house.answering(agent, name=f"{by}, {self.kind}")
        call = await self.house.dial(number, steps)
        return call, await self.ended(call)

    async def ended(self, call: Call) -> Kept:
        """What was kept, which is whole, of a call whose caller got what they waited for."""
        await call.ended(timeout_s=LASTS_S)
        view = await self.house.record_of(call)
        spoken = (await self.house.api.transcript(view.id)).utterances
        failures = [entry.fact.failure for entry in call.journal if isinstance(entry.fact, ScriptEnded)]
        assert set(failures) <= {None}, (failures, [(words.speaker, words.text) for words in spoken])
        facts = await every_fact(self.house.api, view.id)
        assert holes(facts) == []
        assert view.missing_events == 0
        assert len([fact for fact in facts if fact.type == "call.ended"]) == 1
        return Kept(view, spoken, (await self.house.api.tools(view.id)).tools, list(facts))


def loudness(pcm: bytes) -> np.ndarray:
    """Root mean square of each 20 ms of mono s16le at 8 kHz."""
    samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float64)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.sqrt((frames**2).mean(axis=1))


async def booking(room: Room) -> None:
    """Day and time are asked for one after another, the desk writes the appointment down, and the agent hangs up."""
    call, kept = await room.phone(
        room.receptionist(), *conversation("book", "day", "time", "goodbye"), by="a caller who books"
    )
    assert (kept.view.status, kept.view.ended_reason) == ("completed", "assistant_ended_call")
    (use,) = kept.uses_of("book_appointment")
    assert use.is_ok
    number = use.output["number"]
    assert any(f"Your number is {number}" in text for text in kept.texts("agent"))
    assert len(kept.texts("caller")) == 4
    heard_s = (loudness(call.heard) > 100).sum() / 50
    assert heard_s > 8, f"the caller heard the agent for {heard_s} s"
    kinds = {fact.data["kind"] for fact in kept.of("usage.reported")}
    assert kinds == ({"stt", "llm", "tts"} if room.kind == "cascade" else {"speech"})


async def correction(room: Room) -> None:
    """Who corrects themselves within a sentence, behind a pause, has said one thing: the last."""
    agent = receptionist(room.house.tool_url)
    corrected = {
        "name": "move",
        "hears": ["what are your opening hours"],
        "slots": [
            {
                "name": "day",
                "ask": "Which day?",
                "values": [
                    {"value": "Monday", "hears": ["on Monday"]},
                    {"value": "Tuesday", "hears": ["on Tuesday", "on Monday on Tuesday"]},
                ],
            }
        ],
        "says": "So it is {{day}}.",
    }
    taking = TurnTaking(silence_timeout_ms=2500)
    agent = replace(served_by(knowing(agent, corrected), room.kind), first_message="Hello.", turn_taking=taking)
    steps = (WaitForAgent(), said("hours"), WaitForAgent(), Say(text="on Monday"), Pause(length_s=0.6), said("day"))
    _, kept = await room.phone(agent, *steps, *conversation("goodbye"), by="a caller who corrects themselves")
    assert len(kept.texts("caller")) == 3
    assert any(text.startswith("So it is Tuesday.") for text in kept.texts("agent")), kept.texts("agent")
    assert not any("Monday" in text for text in kept.texts("agent"))


async def interruption(room: Room) -> None:
    """The caller speaks over a long greeting: silence within a second, and the transcript stops where the sound did."""
    steps = (Interrupt(say=said("hours"), after_ms=2500), WaitForAgent(silent_ms=1000), HangUp())
    call, kept = await room.phone(room.receptionist(first_message=LONG_STORY), *steps, by="a caller who interrupts")
    said_at = int(np.argmax(loudness(call.said) > 300))
    heard = loudness(call.heard) > 100
    silent_from = said_at + 50
    assert heard[:said_at].sum() > 100, "the agent was speaking when the caller began"
    assert not heard[silent_from : silent_from + 10].any(), "the agent still spoke a second after the caller began"
    greeting = kept.spoken[0]
    assert greeting.is_interrupted
    assert LONG_STORY.startswith(greeting.text.rstrip(".,… "))
    words_per_s = len(greeting.text.split()) / (silent_from / 50)
    assert 1 < words_per_s < 5, f"{greeting.text!r} does not fit {silent_from / 50} s of sound"
    assert OPEN in " ".join(kept.texts("agent"))
    assert kept.view.ended_reason == "customer_ended_call"


async def silence(room: Room) -> None:
    """Who says nothing more is asked, and then left; on the way a turn was judged by the model that listens."""
    taking = TurnTaking(
        idle_timeout_s=2, idle_prompts=("Hello, {{name}}?",), end_of_turn="smart", silence_timeout_ms=1500
    )
    agent = room.receptionist(first_message="Good day.", turn_taking=taking, variables={"name": "caller"})
    steps = (WaitForAgent(), said("hours"), WaitForAgent(), WaitForHangUp())
    _, kept = await room.phone(agent, *steps, by="a caller who falls silent")
    assert (kept.view.status, kept.view.ended_reason) == ("completed", "customer_silent")
    assert [words.speaker for words in kept.spoken] == ["agent", "caller", "agent", "agent"]
    assert (kept.spoken[0].text, kept.spoken[-1].text) == ("Good day.", "Hello, caller?")
    assert kept.spoken[-1].start_ms - kept.spoken[-2].end_ms >= 2000


async def keypad(room: Room) -> None:
    """Keys reach the agent as words, and are a fact each."""
    keys = {"name": "keys", "hears": ["DTMF: 42#"], "says": "You pressed forty two."}
    agent = served_by(knowing(receptionist(room.house.tool_url), keys), room.kind)
    steps = (WaitForAgent(), Press(digits="42#"), *conversation("goodbye"))
    _, kept = await room.phone(agent, *steps, by="a caller who presses keys")
    assert kept.texts("caller")[0] == "DTMF: 42#"
    assert any(text.startswith("You pressed forty two.") for text in kept.texts("agent"))
    assert [fact.data["digit"] for fact in kept.of("dtmf.received")] == ["4", "2", "#"]
    assert kept.view.ended_reason == "assistant_ended_call"


async def tool_failure(room: Room) -> None:
    """A tool whose server is away: the caller hears of it, the record says that it failed, the call goes on."""
    agent = room.receptionist()
    tools = tuple(replace(tool, url=NOBODY) if isinstance(tool, WebhookTool) else tool for tool in agent.tools)
    steps = conversation("book", "day", "time", "goodbye")
    _, kept = await room.phone(replace(agent, tools=tools), *steps, by="a caller whose booking fails")
    assert [use.is_ok for use in kept.uses_of("book_appointment")] == [False]
    assert any("I cannot reach the appointment book" in text for text in kept.texts("agent"))
    assert kept.view.ended_reason == "assistant_ended_call"


async def failed_transfer(room: Room) -> None:
    """The person is busy: the caller is back with the agent, which knows why, and ends the call itself."""
    to = {"cascade": "+15550170010", "speech": "+15550170011"}[room.kind]
    room.house.carrier.expect(to, Busy())
    tool = TransferTool(destinations=(TransferDestination(name="desk", to=to),))
    wish = hears_hours("transfer_call", {"destination": "desk"})
    _, number = await room.house.answering(
        scripted("Reception.", wish, tools=(tool,), kind=room.kind), name=f"a caller to be transferred, {room.kind}"
    )
    call = await room.house.dial(number, [WaitForAgent(), said("hours"), WaitForHangUp(timeout_s=60)])
    async for fact in room.house.api.follow((await room.house.live(call)).id):
        if fact.type == "transcript.final" and fact.epoch > 1:
            call.say(await samples_of(said("goodbye"), room.house.carrier.speak))
            break
    kept = await room.ended(call)
    assert (kept.view.status, kept.view.ended_reason) == ("completed", "assistant_ended_call")
    (failed,), (told,) = kept.of("transfer.failed"), kept.of("context.injected")
    assert failed.data["outcome"] == "busy"
    assert (told.epoch, told.data["source"]) == (2, failed.data["transfer_id"])
    assert kept.texts("agent")[-1] == "Bye."
    assert kept.of("call.resumed") == []


async def handoff(room: Room) -> None:
    """Another agent, of the other kind, goes on with the call on the same line: it knows what was said, and the record
    names it from there on."""
    desk, _ = await room.house.answering(
        scripted("Opening hours desk.", kind=OTHER[room.kind]), name=f"the desk behind {room.kind}"
    )
    target = HandoffTarget(name="hours", agent_id=AgentId(desk.id))
    wish = hears_hours("handoff_to_agent", {"agent": "hours"})
    agent = scripted("Reception.", wish, tools=(HandoffTool(agents=(target,)),), kind=room.kind)
    _, kept = await room.phone(agent, *conversation("hours", "goodbye"), by="a caller who is handed on")
    assert (kept.view.agent_id, kept.view.ended_reason) == (desk.id, "assistant_ended_call")
    assert kept.texts("agent") == ["Reception.", "Opening hours desk.", "Bye."]
    (handed,) = kept.of("call.handoff")
    assert handed.data["to_agent_id"] == desk.id
    assert handed.data["from_agent_id"] != desk.id
    assert [fact.epoch for fact in kept.of("epoch.opened")] == [1, 2]
    assert kept.of("tool.result")[0].data["is_ok"]


async def voicemail(room: Room) -> None:
    """An agent that calls a machine says nothing into its greeting, and leaves its message behind the beep."""
    to = {"cascade": "+14155550210", "speech": "+14155550211"}[room.kind]
    machine = {"name": "machine", "hears": [TONE], "says": "That is a machine."}
    agent = served_by(knowing(receptionist(room.house.tool_url), machine), room.kind)
    leaves = Voicemail(action="leave_message", message=MESSAGE)
    _, number = await room.house.answering(
        replace(agent, first_message="Good morning.", voicemail=leaves), name=f"an agent that calls, {room.kind}"
    )
    room.house.carrier.expect(to, Machine(greeting=Say(text=TONE), hangs_up_after_s=20.0))
    await room.house.api.place_call(to, number.e164, agent_id=number.routing.agent_id)
    call = await reached(room.house, to)
    kept = await room.ended(call)
    assert (kept.view.status, kept.view.ended_reason) == ("completed", "voicemail")
    assert len(kept.of("voicemail.detected")) == 1
    assert kept.texts("agent") == [MESSAGE]
    assert sounding_ms(call.recorded, 8000), "the machine recorded nothing"
    into_greeting = call.heard[: len(call.heard) - len(call.recorded)]
    assert sounding_ms(into_greeting, 8000) == [], "something was said into the machine's greeting"


async def vendor_outage(room: Room) -> None:
    """The first vendor's server is gone: another one answers in the same turn, and keeps the call."""
    agent = receptionist(room.house.tool_url)
    assert isinstance(agent.pipeline, Cascade)
    local, gone = agent.pipeline.llm, {"model": "absent", "base_url": "http://127.0.0.1:9019/v1"}
    hears = VendorRef(vendor="local", options={"phrases": ["what are your opening hours", "no thank you goodbye"]})
    if room.kind == "cascade":
        llm = VendorRef(vendor="openai", options=gone)
        pipeline: Any = replace(agent.pipeline, stt=hears, llm=llm, fallbacks=Fallbacks(llm=(local,)))
    else:
        gone["base_url"] = "http://127.0.0.1:9029/v1"
        script = VendorRef(vendor="local", options={"script": local.options["script"]})
        pipeline = SpeechToSpeech(model=VendorRef(vendor="openai", options=gone), fallbacks=(script,))
    steps = conversation("hours", "goodbye")
    _, kept = await room.phone(replace(agent, pipeline=pipeline), *steps, by="a caller of a vendor that is gone")
    failed = kept.of("vendor.failed")
    assert [(fact.data["vendor"], fact.data["taken_over_by"], fact.data["is_fatal"]) for fact in failed][-1] == (
        "openai",
        "local",
        False,
    )
    assert OPEN in " ".join(kept.texts("agent"))
    assert len(kept.texts("caller")) == 2
    assert kept.view.ended_reason == "assistant_ended_call"


TEN: Final[tuple[Callable[[Room], Awaitable[None]], ...]] = (
    booking,
    correction,
    interruption,
    silence,
    keypad,
    tool_failure,
    failed_transfer,
    handoff,
    voicemail,
    vendor_outage,
)


@pytest.mark.parametrize("kind", ["cascade", "speech"])
async def test_ten_conversations_go_as_they_should(house: House, kind: str) -> None:
    """At once, and each keeps its own story."""
    results = await asyncio.gather(*(each(Room(house, kind)) for each in TEN), return_exceptions=True)
    failures = []
    for each, result in zip(TEN, results, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"in the conversation: {each.__name__}, {kind}")
            failures.append(result)
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(TEN)} conversations", failures)
