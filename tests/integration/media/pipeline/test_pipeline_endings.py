"""How calls end, and what is left of them."""

import asyncio
from typing import Any

import pytest

from turncall_proto.call import CallState, EndedReason
from turncall_proto.command import EndCall
from turncall_proto.events import DtmfReceived, TranscriptFinal, VendorFailed

from .both import BOTH

LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen fourteen."


@BOTH
def test_hang_up_in_the_greeting_ends_cleanly(stage: Any) -> None:
    """The transcript holds what the caller heard before hanging up, and no task is left."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        scene.carrier.hang_up()
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.CUSTOMER_ENDED_CALL

    scene = stage.play(stage.an_agent(LONG), act)
    (greeting,) = scene.facts.of(TranscriptFinal)
    assert greeting.is_interrupted
    assert greeting.text == "One two three four"
    assert scene.hang_ups == []


@BOTH
def test_hang_up_before_a_word_leaves_nothing(stage: Any) -> None:
    """A caller who is gone at once is no error."""

    async def act(scene: Any) -> None:
        scene.carrier.hang_up()
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.CUSTOMER_ENDED_CALL

    scene = stage.play(stage.an_agent(LONG), act)
    assert scene.transcript() == []


@BOTH
def test_lost_socket_does_not_say_that_the_call_is_over(stage: Any) -> None:
    """Without a stop message the carrier may come back: the worker claims no end, and does not ask to hang up."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        scene.carrier.drop()
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (None, None)

    scene = stage.play(stage.an_agent(LONG), act)
    assert scene.hang_ups == []
    assert len(scene.transcript()) == 1


@BOTH
@pytest.mark.proves("agent.max_duration_s")
def test_call_ends_after_its_longest_duration(stage: Any) -> None:
    """max_duration_s ends the call, in the middle of a word if need be, and the carrier is asked to hang up."""

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.COMPLETED, EndedReason.MAX_DURATION_REACHED)
        assert scene.hang_ups[0][1] == pytest.approx(10.0, abs=0.1)

    scene = stage.play(stage.an_agent(" ".join([LONG] * 4), max_duration_s=10), act)
    assert [reason for reason, _ in scene.hang_ups] == [EndedReason.MAX_DURATION_REACHED]


@BOTH
def test_end_by_command_cuts_the_agent_off(stage: Any) -> None:
    """Ending from outside takes effect at once; the first reason stands."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 1.0)
        at_s = scene.carrier.now()
        await scene.tell(EndCall)
        await scene.tell(EndCall, reason=EndedReason.MAX_DURATION_REACHED)
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.API_ENDED_CALL
        assert scene.carrier.clears_at[0] - at_s < 0.02

    scene = stage.play(stage.an_agent(LONG), act)
    assert [reason for reason, _ in scene.hang_ups] == [EndedReason.API_ENDED_CALL]
    assert scene.facts.of(TranscriptFinal)[0].is_interrupted


@BOTH
def test_peer_that_babbles_is_left(stage: Any) -> None:
    """A second of senseless frames in a row ends the call; some in between are passed over."""

    async def act(scene: Any) -> None:
        for _ in range(3):
            scene.carrier.babble()
            scene.carrier.babble('{"event":"media","streamSid":"MZ","media":{"timestamp":"0","payload":"AAAA"}}')
        await scene.carrier.until(scene.transcript)
        assert not scene.running.done()
        for _ in range(60):
            scene.carrier.babble("[" * 2000)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.TELEPHONY_FAILED)

    stage.play(stage.an_agent("Hello."), act)


@BOTH
def test_keys_reach_the_record_and_the_agent(stage: Any) -> None:
    """Each key is a fact; together they are what the caller says to the agent."""
    stage.script.replies = ["Forty-two."]

    async def act(scene: Any) -> None:
        for digit in "42#":
            scene.carrier.press(digit)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.press("A")
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert [fact.digit for fact in scene.facts.of(DtmfReceived)] == ["4", "2", "#", "A"]
    assert scene.transcript() == [("caller", "DTMF: 42#"), ("agent", "Forty-two.")]


@BOTH
def test_model_that_fails_once_is_asked_again(stage: Any) -> None:
    """A failure of the model costs the caller no more than a pause."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = [ConnectionError("reset"), "Here I am."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript()[-1] == ("agent", "Here I am.")
    (failure,) = scene.facts.of(VendorFailed)
    assert (failure.kind, failure.vendor, failure.is_fatal) == (stage.mind, "scripted", False)


@BOTH
def test_lost_model_ends_the_call_with_an_apology(stage: Any) -> None:
    """When the model fails for good, the caller hears why before the call ends as the vendor's fault."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = [ConnectionError("reset"), ConnectionError("reset")]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.VENDOR_ERROR)

    scene = stage.play(stage.an_agent(), act)
    assert [fact.is_fatal for fact in scene.facts.of(VendorFailed)] == [False, True]
    speaker, apology = scene.transcript()[-1]
    assert speaker == "agent"
    assert "technical problem" in apology
    assert not scene.facts.of(TranscriptFinal)[-1].is_interrupted
    assert [reason for reason, _ in scene.hang_ups] == [EndedReason.VENDOR_ERROR]


def test_lost_voice_ends_the_call_without_a_word(stage: Any) -> None:
    """With nothing to speak with, the call ends; it does not stay silent."""
    stage.script.caller = ["Hello?"] * 5
    stage.script.voice_fails = 99

    async def act(scene: Any) -> None:
        while not scene.running.done():
            await scene.carrier.speak(0.6)
            await asyncio.sleep(3)
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.VENDOR_ERROR

    scene = stage.play(stage.an_agent(), act)
    assert scene.facts.of(VendorFailed)[-1].is_fatal
    assert all(speaker == "caller" for speaker, _ in scene.transcript())


def test_a_voice_that_fails_now_and_then_is_kept(stage: Any) -> None:
    """Each time it says the next reply: only failures without a success between them cost the call."""
    replies = [f"Here is number {number}." for number in range(6)]
    stage.script.caller, stage.script.replies = ["Hello?"] * len(replies), list(replies)

    async def act(scene: Any) -> None:
        for number, reply in enumerate(replies):
            stage.script.voice_fails = 1 - number % 2
            await scene.carrier.speak(0.6)
            if number % 2:
                await scene.carrier.until(lambda reply=reply: ("agent", reply) in scene.transcript())
                await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
            else:
                await scene.carrier.until(lambda: not stage.script.voice_fails)
                await asyncio.sleep(1)
        scene.carrier.hang_up()
        assert (await scene.outcome()).reason is EndedReason.CUSTOMER_ENDED_CALL

    scene = stage.play(stage.an_agent(), act)
    assert [fact.is_fatal for fact in scene.facts.of(VendorFailed)] == [False] * 3


class KeyRejected(Exception):
    """As an HTTP client raises it."""

    status_code = 401


@BOTH
def test_rejected_key_ends_the_call_at_once(stage: Any) -> None:
    """A failure that no retry can mend is not retried."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = [KeyRejected()]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.VENDOR_ERROR

    scene = stage.play(stage.an_agent(), act)
    assert [fact.is_fatal for fact in scene.facts.of(VendorFailed)] == [True]


@BOTH
def test_silent_model_is_asked_again(stage: Any) -> None:
    """A request that is never answered is a failure too; the caller is not left in silence for ever."""
    stage.script.caller = ["Hello?"]
    stage.script.replies = ["Never said.", "Here I am."]
    stage.script.llm_s = 3600.0

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: stage.script.contexts)
        stage.script.llm_s = 0.05
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    assert scene.transcript() == [("caller", "Hello?"), ("agent", "Here I am.")]
    (failure,) = scene.facts.of(VendorFailed)
    assert (failure.kind, failure.is_fatal) == (stage.mind, False)


@BOTH
def test_vendor_that_never_connects_ends_the_call(stage: Any) -> None:
    """A stage that cannot be set up in time is the vendor's fault, not a call without words."""
    stage.script.connect_s = 3600.0

    async def act(scene: Any) -> None:
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.FAILED, EndedReason.VENDOR_ERROR)
        assert scene.carrier.now() < 15

    stage.play(stage.an_agent("Hello."), act)


@BOTH
def test_cancelled_conversation_leaves_nothing(stage: Any) -> None:
    """A session that must stop at once gets its cancellation back, and no task stays."""

    async def act(scene: Any) -> None:
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        scene.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scene.outcome()
        scene.carrier.drop()
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    scene = stage.play(stage.an_agent(LONG), act)
    assert scene.hang_ups == []


@BOTH
def test_vendor_that_swallows_its_cancellation_does_not_hold_the_call(stage: Any) -> None:
    """The end of a call has a deadline of its own."""
    stage.script.caller = ["Hello?"]
    stage.script.is_stubborn = True

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: stage.script.contexts)
        at_s = scene.carrier.now()
        scene.carrier.hang_up()
        outcome = await scene.running
        assert outcome.reason is EndedReason.CUSTOMER_ENDED_CALL
        assert scene.carrier.now() - at_s < 12
        stage.script.is_stubborn = False
        scene.carrier.drop()
        await asyncio.sleep(5)

    stage.play(stage.an_agent(), act)
