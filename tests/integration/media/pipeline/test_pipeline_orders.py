"""What a person tells the agent of a live call to do: it does so, on the running pipeline, and says that it did."""

import asyncio
from typing import Any

from turncall_proto.call import EndedReason
from turncall_proto.command import CommandReply, EndCall, Inject, Mute, Say, SendDtmf, Unmute
from turncall_proto.events import CommandDone, ContextInjected, TranscriptFinal

from .both import BOTH
from .test_pipeline_keys import keys_heard
from .test_pipeline_resumed import caller_said, past

GREETING = "One two three four five six seven eight."
DONE = CommandReply(outcome="done")


@BOTH
def test_what_it_is_told_to_say_is_heard_behind_what_it_says(stage: Any) -> None:
    """The greeting is finished first; the line is in the transcript, and the model knows that it was said."""
    stage.script.caller = ["What did you say?"]
    stage.script.replies = ["That we close."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        assert await scene.tell(Say, text="We close in ten minutes.") == DONE
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "That we close."))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(GREETING), act)
    assert [text for speaker, text in scene.transcript() if speaker == "agent"][:2] == [
        GREETING,
        "We close in ten minutes.",
    ]
    assert {"role": "assistant", "content": "We close in ten minutes."} in stage.script.contexts[0]
    assert [fact.command for fact in scene.facts.of(CommandDone)] == ["say"]


@BOTH
def test_what_it_is_told_reaches_its_next_reply_or_brings_one(stage: Any) -> None:
    """Without an answer it waits for the caller's next words; with one the model speaks about it in its turn."""
    stage.script.caller = ["Hello."]
    stage.script.replies = ["Good morning, Ada.", "Your parcel has come."]

    async def act(scene: Any) -> None:
        assert await scene.tell(Inject, text="The caller is Ada.") == DONE
        await asyncio.sleep(1.0)
        assert stage.script.contexts == []
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.is_agent_heard)
        assert await scene.tell(Inject, text="Has my parcel come?", role="user", is_answered=True) == DONE
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "Your parcel has come."))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    first, second = stage.script.contexts
    assert {"role": "system", "content": "The caller is Ada."} in first
    assert {"role": "user", "content": "Has my parcel come?"} in second
    assert {"role": "assistant", "content": "Good morning, Ada."} in second
    assert [(fact.role, fact.is_answered) for fact in scene.facts.of(ContextInjected)] == [
        ("system", False),
        ("user", True),
    ]


@BOTH
def test_a_muted_agent_is_silent_until_it_is_unmuted(stage: Any) -> None:
    """It is cut off at once, asks nobody and says nothing but what it is told to; then it answers what was said."""
    stage.script.caller = ["Are you there?"]
    stage.script.replies = ["I am here again."]

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        assert await scene.tell(Mute) == DONE
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard, within_s=0.2)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("caller", "Are you there?") in scene.transcript())
        await asyncio.sleep(8.0)
        assert stage.script.contexts == []
        assert len(scene.transcript()) == 2
        assert await scene.tell(Say, text="A person listens.") == DONE
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "A person listens."))
        assert await scene.tell(Unmute) == DONE
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "I am here again."))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(GREETING, idle_timeout_s=3), act)
    assert scene.facts.of(TranscriptFinal)[0].is_interrupted
    assert len(stage.script.contexts) == 1


@BOTH
def test_keys_are_heard_and_the_call_is_ended(stage: Any) -> None:
    """The tones come in order and in the call's own audio; the end is the last thing that it does."""

    async def act(scene: Any) -> None:
        assert await scene.tell(SendDtmf, digits="4w2#") == DONE
        await scene.carrier.until(lambda: [key for key, _ in keys_heard(scene.carrier.heard) if key] == list("42#"))
        assert await scene.tell(EndCall) == DONE
        assert (await scene.outcome()).reason is EndedReason.API_ENDED_CALL
        assert (await scene.tell(Say, text="Wait.")).outcome == "refused"

    stage.play(stage.an_agent(), act)


def test_the_next_worker_knows_what_was_ordered(stage: Any) -> None:
    """What was injected is part of the story, a reply that it asked for is made, and muted stays muted."""
    stage.script.replies = ["It is open."]

    def done(command: str) -> tuple[type, dict[str, Any]]:
        return CommandDone, {"command_id": command, "command": command}

    injected = (ContextInjected, {"role": "system", "text": "The bridge is open.", "is_answered": True})

    async def act(scene: Any) -> None:
        await asyncio.sleep(5.0)
        assert (stage.script.contexts, scene.transcript()) == ([], [])
        await scene.tell(Unmute)
        await scene.carrier.until(lambda: scene.transcript() == [("agent", "It is open.")])
        scene.carrier.hang_up()
        await scene.outcome()

    known = past(caller_said("Hello.", 1), injected, done("inject"), done("mute"))
    stage.play(stage.an_agent(), act, past=known)
    assert stage.script.contexts[0][1:] == [
        {"role": "user", "content": "Hello."},
        {"role": "system", "content": "The bridge is open."},
    ]
