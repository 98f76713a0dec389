"""Calls that an agent makes: people get the agent, machines the message or nothing, assistants the purpose."""

import asyncio
from typing import Any

import msgspec
import pytest

from turncall_media.seams import Outcome, Past
from turncall_phone import mulaw
from turncall_phone.tones import tone
from turncall_proto.agent import Voicemail
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import VoicemailDetected

from .both import BOTH

pytestmark = BOTH

OUTBOUND = {"direction": "outbound"}
BEEP = mulaw.encode(tone((1000,), 20, amplitude=9000))
MESSAGE = "Please call us back."
LEAVES = Voicemail(action="leave_message", message=MESSAGE, purpose="About your order.")
GREETING = "I cannot come to the phone, leave a message after the tone"
OVER = Outcome(state=CallState.COMPLETED, reason=EndedReason.VOICEMAIL)


def an_agent(stage: Any, **voicemail: Any) -> Any:
    agent = stage.an_agent("Hello, this is the bakery.", silence_timeout_ms=500)
    return msgspec.structs.replace(agent, voicemail=msgspec.structs.replace(LEAVES, **voicemail))


async def beeps(carrier: Any) -> None:
    """The tone of a machine, half a second after its greeting."""
    await asyncio.sleep(0.5)
    carrier.voice = BEEP
    await carrier.speak(0.4)


def clues(scene: Any) -> list[str]:
    return [fact.clue for fact in scene.facts.of(VoicemailDetected)]


def test_a_person_gets_the_agent(stage: Any) -> None:
    """The agent waits for their hello, greets, and answers what they say next; no reply is made to the hello itself."""
    stage.script.caller = ["hello", "what do you want"]
    stage.script.replies = ["Your cake is done."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        assert scene.carrier.heard_s() == 0
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
        await asyncio.sleep(1)
        await scene.carrier.speak(0.8)
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
        await asyncio.sleep(1)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(an_agent(stage), act, plan=OUTBOUND)
    assert clues(scene) == []
    assert scene.transcript() == [
        ("caller", "hello"),
        ("agent", "Hello, this is the bakery."),
        ("caller", "what do you want"),
        ("agent", "Your cake is done."),
    ]
    (asked,) = stage.script.contexts
    assert [message["content"] for message in asked if message["role"] == "user"] == ["hello", "what do you want"]


@pytest.mark.parametrize("words_s", [0.0, 0.8])
def test_without_a_greeting_the_hello_is_answered(stage: Any, words_s: float) -> None:
    """Once, also when a model that hears by itself writes it down after the silence has said that a person is there."""
    stage.script.words_s = words_s
    stage.script.caller = ["hello"]
    stage.script.replies = ["Your cake is done."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        await asyncio.sleep(2)
        scene.carrier.hang_up()
        await scene.outcome()

    agent = msgspec.structs.replace(an_agent(stage), first_message="")
    scene = stage.play(agent, act, plan=OUTBOUND)
    assert scene.transcript() == [("caller", "hello"), ("agent", "Your cake is done.")]
    assert clues(scene) == []
    assert stage.script.contexts[0][1:] == [{"role": "user", "content": "hello"}]


def test_a_silent_person_is_greeted(stage: Any) -> None:
    """Whoever picks up and says nothing hears the agent after two and a half seconds."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert 2.4 <= scene.carrier.now() - scene.opened_at_s <= 3.0
        scene.carrier.hang_up()
        await scene.outcome()

    assert clues(stage.play(an_agent(stage), act, plan=OUTBOUND)) == []


@pytest.mark.proves("agent.voicemail.message", "agent.voicemail.action")
@pytest.mark.parametrize("action", ["hang_up", "leave_message"])
def test_a_machine_gets_the_message_behind_its_beep_or_nothing(stage: Any, action: str) -> None:
    """Nothing is said into its greeting, the model is not asked, and the call ends by itself."""
    stage.script.caller = [GREETING]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(4.0)
        await scene.carrier.until(lambda: scene.running.done() or scene.carrier.now() - scene.opened_at_s > 5)
        assert scene.carrier.heard_s() == 0
        await beeps(scene.carrier)
        assert await scene.outcome() == OVER

    scene = stage.play(an_agent(stage, action=action), act, plan=OUTBOUND)
    assert clues(scene) == ["words"]
    assert stage.script.contexts == []
    assert stage.script.spoken == ([MESSAGE] if action == "leave_message" else [])
    assert scene.hang_ups[0][0] is EndedReason.VOICEMAIL


@pytest.mark.proves("agent.voicemail.beep_within_s")
def test_a_machine_that_never_beeps_is_not_waited_for_for_ever(stage: Any) -> None:
    """One that talks on and on gets the message after so many seconds."""
    stage.script.caller = [GREETING]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(60.0)
        assert stage.script.spoken == [MESSAGE]
        assert await scene.outcome() == OVER

    scene = stage.play(an_agent(stage, beep_within_s=5), act, plan=OUTBOUND)
    assert clues(scene) == ["length"]


@pytest.mark.proves("agent.voicemail.phrases")
def test_a_machine_of_another_language(stage: Any) -> None:
    """What machines say there is the agent's to know."""
    stage.script.caller = ["Spreek in na de piep"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(3.0)
        await beeps(scene.carrier)
        assert await scene.outcome() == OVER

    scene = stage.play(an_agent(stage, phrases=("na de piep",)), act, plan=OUTBOUND)
    assert clues(scene) == ["words"]


@pytest.mark.proves("agent.voicemail.listen_s")
@pytest.mark.parametrize("listen_s", [0, 10])
def test_a_greeting_that_begins_like_a_person(stage: Any, listen_s: int) -> None:
    """The agent has begun to speak when the machine goes on: it stops, waits for the beep and leaves the message."""
    stage.script.caller = ["Hello", GREETING]
    stage.script.replies = ["It is about your cake."] * 3

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        await scene.carrier.speak(3.0)
        await beeps(scene.carrier)
        if listen_s:
            assert await scene.outcome() == OVER
        else:
            scene.carrier.hang_up()
            await scene.outcome()

    scene = stage.play(an_agent(stage, listen_s=listen_s), act, plan=OUTBOUND)
    assert clues(scene) == (["words"] if listen_s else [])
    assert (stage.script.spoken[-1] == MESSAGE) == bool(listen_s)


@pytest.mark.proves("agent.voicemail.purpose")
def test_an_assistant_is_told_why_we_call(stage: Any) -> None:
    """Then somebody comes to the phone, and gets the agent."""
    stage.script.caller = ["please state your name and the reason for calling", "yes"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(3.0)
        await scene.carrier.until(lambda: stage.script.spoken == ["About your order."])
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
        await scene.carrier.until(lambda: scene.carrier.now() - scene.opened_at_s > 12)
        assert stage.script.spoken == ["About your order."]
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(stage.script.spoken) > 1)
        assert "bakery" in stage.script.spoken[1]
        scene.carrier.hang_up()
        await scene.outcome()

    assert clues(stage.play(an_agent(stage), act, plan=OUTBOUND)) == []


def test_somebody_picks_up_during_the_greeting(stage: Any) -> None:
    """The machine stops and a person speaks: they get the agent, and nobody says that a machine has answered."""
    stage.script.caller = [GREETING, "Hello I am here"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(3.0)
        await scene.carrier.until(lambda: scene.carrier.now() - scene.opened_at_s > 4.5)
        await scene.carrier.speak(0.8)
        await scene.carrier.until(lambda: "bakery" in str(stage.script.spoken))
        scene.carrier.hang_up()
        await scene.outcome()

    assert clues(stage.play(an_agent(stage), act, plan=OUTBOUND)) == []


def test_the_carrier_has_listened_before_us(stage: Any) -> None:
    """A machine whose greeting is over gets its message at once, a person the agent."""
    for answered_by, said, expected in (
        ("machine_end_beep", MESSAGE, ["carrier"]),
        ("human", "Hello, this is the bakery.", []),
    ):
        stage.script.spoken = []

        async def act(scene: Any) -> None:
            await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
            assert scene.carrier.now() - scene.opened_at_s < 1.0
            scene.carrier.hang_up()
            await scene.outcome()

        scene = stage.play(an_agent(stage), act, plan=OUTBOUND | {"answered_by": answered_by})
        assert (stage.script.spoken[0], clues(scene)) == (said, expected)


def test_a_caller_who_rings_is_greeted_at_once(stage: Any) -> None:
    """Nobody is taken for a machine who has called us."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert scene.carrier.now() - scene.opened_at_s < 1.0
        scene.carrier.hang_up()
        await scene.outcome()

    assert clues(stage.play(an_agent(stage), act)) == []


def test_the_next_worker_leaves_the_message(stage: Any) -> None:
    """A worker was lost while it spoke to the machine: the next one says the message, and does not state it again."""
    header = {"call_id": "call_" + "c" * 32, "project_id": "prj_" + "a" * 32, "epoch": 1, "seq": 3}
    fact = msgspec.convert(
        {"type": "voicemail.detected", **header, "at": "2026-11-22T12:00:00Z", "clue": "beep"}, VoicemailDetected
    )

    async def act(scene: Any) -> None:
        assert await scene.outcome() == OVER

    scene = stage.play(an_agent(stage), act, past=Past(facts=(fact,), is_known=True), plan=OUTBOUND)
    assert (stage.script.spoken, clues(scene)) == ([MESSAGE], [])


def test_a_machine_that_hangs_up_is_no_customer(stage: Any) -> None:
    """Its mailbox is full in the middle of the message: the call ended at a machine."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        scene.carrier.hang_up()
        assert await scene.outcome() == OVER

    stage.play(an_agent(stage, message=MESSAGE * 5), act, plan=OUTBOUND | {"answered_by": "machine_end_beep"})
