"""What the model does besides talk."""

import json
import time
from typing import Any

import pytest
from aiohttp import web

from turncall_egress.signing import new_secret, verify
from turncall_proto.agent import EndCallTool, OptOutTool
from turncall_proto.call import CallState, EndedReason
from turncall_proto.command import ActReply
from turncall_proto.events import ToolCalled, ToolReturned, TranscriptFinal

from .both import BOTH
from .users_server import UsersServer, a_webhook, use_webhook


@BOTH
def test_goodbye_is_heard_before_the_call_ends(stage: Any) -> None:
    """end_call waits until the caller has heard the goodbye; then control is asked to hang up, and nothing is lost."""
    goodbye = "Thank you for calling. Goodbye."
    stage.script.caller = ["Bye."]
    stage.script.replies = [stage.call("end_call", {}, text=goodbye)]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        outcome = await scene.outcome()
        assert (outcome.state, outcome.reason) == (CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)

    scene = stage.play(stage.an_agent(tools=(EndCallTool(),)), act)
    assert scene.transcript()[-1] == ("agent", goodbye)
    assert not scene.facts.of(TranscriptFinal)[-1].is_interrupted
    ((reason, at_s),) = scene.hang_ups
    assert reason is EndedReason.ASSISTANT_ENDED_CALL
    assert scene.carrier.heard_s() == pytest.approx(1.5, abs=0.1)  # 22 and 8 characters at 50 ms
    assert at_s * 1000 >= scene.facts.of(TranscriptFinal)[-1].end_ms
    (returned,) = scene.facts.of(ToolReturned)
    assert (returned.tool, returned.is_ok) == ("end_call", True)


@BOTH
def test_caller_who_interrupts_the_goodbye_stays(stage: Any) -> None:
    """Speaking into the goodbye calls the end off."""
    stage.script.caller = ["Bye.", "Wait!"]
    stage.script.replies = [stage.call("end_call", {}, text="Thank you for calling us today. Goodbye."), "Yes?"]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.carrier.heard_s() > 0.5)
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "Yes?"))
        scene.carrier.hang_up()
        outcome = await scene.outcome()
        assert outcome.reason is EndedReason.CUSTOMER_ENDED_CALL

    scene = stage.play(stage.an_agent(tools=(EndCallTool(),)), act)
    assert scene.hang_ups == []
    (returned,) = scene.facts.of(ToolReturned)
    assert not returned.is_ok


@BOTH
@pytest.mark.proves("agent.tools.opt_out.name", "agent.tools.opt_out.description")
def test_who_asks_not_to_be_called_again_is_put_down(stage: Any) -> None:
    """The model names nobody: with an argument it is refused before control is asked, and a failure is told."""
    tool = OptOutTool(name="never_again", description="They want no calls.")
    stage.script.caller = ["Never call me again."]
    wishes: list[dict[str, Any]] = [{"number": "+15559999"}, {}, {}]
    stage.script.replies = [*(stage.call("never_again", wish) for wish in wishes), "You are off our list."]

    async def act(scene: Any) -> None:
        scene.opt_out_replies = [ActReply(is_taken=False, detail="late"), ActReply(is_taken=True)]
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "You are off our list.")])
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(tool,)), act)
    assert [fact.is_ok for fact in scene.facts.of(ToolReturned)] == [False, False, True]
    assert scene.opt_out_replies == []
    assert stage.script.tools[0] == ["They want no calls."]


@BOTH
def test_silent_end_call_ends_at_once(stage: Any) -> None:
    """A model that ends the call without a word is not waited for."""
    stage.script.caller = ["Bye."]
    stage.script.replies = [stage.call("end_call", {})]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        began_s = scene.carrier.now()
        await scene.outcome()
        assert scene.carrier.now() - began_s < 1.5

    scene = stage.play(stage.an_agent(tools=(EndCallTool(),)), act)
    assert scene.hang_ups[0][0] is EndedReason.ASSISTANT_ENDED_CALL


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({}, "'city' is a required property"), ({"city": 7}, "city: 7 is not of type 'string'")],
)
@BOTH
def test_arguments_that_do_not_fit_are_not_sent(stage: Any, arguments: dict[str, Any], complaint: str) -> None:
    """The model is told what is wrong and may try again; the user's server sees nothing."""
    stage.script.caller = ["Weather?"]
    stage.script.replies = [stage.call("weather", arguments), "I could not find out."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(a_webhook("http://192.0.2.1/"),)), act)
    (called,), (returned,) = scene.facts.of(ToolCalled), scene.facts.of(ToolReturned)
    assert called.arguments == arguments
    assert not returned.is_ok
    assert complaint in returned.output["error"]
    assert complaint in stage.script.contexts[-1][-1]["content"]


@BOTH
def test_filler_line_is_heard_before_the_answer(stage: Any) -> None:
    """What the model says beside a tool call is spoken and remembered in its place, and the answer follows it."""
    stage.script.caller = ["Weather?"]
    stage.script.replies = [stage.call("weather", {}, text="One moment, please."), "I could not find out."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: len(scene.transcript()) == 3)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(a_webhook("http://192.0.2.1/"),)), act)
    assert scene.transcript()[1:] == [("agent", "One moment, please."), ("agent", "I could not find out.")]
    first, second = scene.facts.of(TranscriptFinal)[1:]
    assert first.end_ms <= second.start_ms
    assert not first.is_interrupted
    roles = [message["role"] for message in stage.script.contexts[-1]]
    assert roles[2:] == ["assistant", "assistant", "tool"]
    assert stage.script.contexts[-1][2]["content"] == "One moment, please."


@BOTH
@pytest.mark.proves("agent.tools.webhook.url")
async def test_webhook_is_signed_and_answers_the_model(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's server gets the arguments, a signature that verifies and an idempotency key; the model its JSON."""
    secret = new_secret()
    server = UsersServer(web.json_response({"sky": "grey"}))
    scene = await use_webhook(stage, server, secret, monkeypatch)
    ((headers, body),) = server.requests
    verify([secret], headers, body, time.time())
    assert json.loads(body)["arguments"] == {"city": "Oslo"}
    assert headers["idempotency-key"] == json.loads(body)["tool_call_id"] == headers["webhook-id"]
    (returned,) = scene.facts.of(ToolReturned)
    assert (returned.is_ok, returned.output) == (True, {"sky": "grey"})
    assert json.loads(stage.script.contexts[-1][-1]["content"]) == {"sky": "grey"}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (web.Response(status=500), "status 500"),
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "status 302"),
        (1.0, "did not answer in time"),
    ],
)
@pytest.mark.proves("agent.tools.webhook.timeout_ms")
async def test_failing_webhook_is_something_to_talk_about(
    stage: Any, monkeypatch: pytest.MonkeyPatch, answer: web.Response | float, complaint: str
) -> None:
    """A server that fails, redirects, floods or stalls becomes an answer for the model; the call goes on."""
    scene = await use_webhook(stage, UsersServer(answer), new_secret(), monkeypatch)
    (returned,) = scene.facts.of(ToolReturned)
    assert not returned.is_ok
    assert complaint in returned.output["error"]
    assert complaint in stage.script.contexts[-1][-1]["content"]


@BOTH
async def test_webhook_that_cannot_be_signed_is_not_sent(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a signing secret the user's server could not tell us from anybody else."""
    server = UsersServer(web.Response())
    scene = await use_webhook(stage, server, None, monkeypatch)
    assert server.requests == []
    (returned,) = scene.facts.of(ToolReturned)
    assert not returned.is_ok
