"""Webhook tools: what is sent again, what the caller hears meanwhile, what survives, and how many there may be."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from turncall_egress.signing import new_secret, verify
from turncall_media.pipelines.apologies import please_repeat
from turncall_media.pipelines.toolbox import WARNINGS
from turncall_proto.agent import Guardrails
from turncall_proto.events import ToolCalled, ToolReturned

from .both import BOTH
from .users_server import UsersServer, a_webhook, use_webhook


@pytest.mark.proves("agent.tools.webhook.headers", "agent.tools.webhook.max_retries")
async def test_passing_failures_are_tried_again_as_the_same_request(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 and a stall cost the caller a moment; the server can tell that it was one use of the tool."""
    secret = new_secret()
    server = UsersServer(web.Response(status=503), 1.0, web.json_response({"sky": "grey"}))
    scene = await use_webhook(stage, server, secret, monkeypatch, headers={"X-Shop": "7"}, max_retries=2)
    assert len(server.requests) == 3
    for headers, body in server.requests:
        verify([secret], headers, body, time.time())
        assert headers["x-shop"] == "7"
    assert len({(headers["idempotency-key"], headers["webhook-id"], body) for headers, body in server.requests}) == 1
    (returned,) = scene.facts.of(ToolReturned)
    assert (returned.is_ok, returned.output) == (True, {"sky": "grey"})


async def test_a_refusal_is_not_tried_again(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 404 stays one."""
    server = UsersServer(web.Response(status=404))
    scene = await use_webhook(stage, server, new_secret(), monkeypatch, max_retries=5)
    assert len(server.requests) == 1
    assert not scene.facts.of(ToolReturned)[0].is_ok


@pytest.mark.proves("agent.tools.webhook.max_result_bytes")
async def test_a_long_answer_is_cut_and_says_so(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model gets the beginning, and is told that there was more; an answer that just fits is whole."""
    long = UsersServer(web.Response(body="ä".encode() * 20_000))
    scene = await use_webhook(stage, long, new_secret(), monkeypatch, max_result_bytes=301)
    (returned,) = scene.facts.of(ToolReturned)
    assert returned.is_ok
    assert returned.output["is_truncated"]
    assert returned.output["beginning"] == "ä" * 150
    assert "longer than 301 bytes" in stage.script.contexts[-1][-1]["content"]


async def test_an_answer_that_just_fits_is_whole(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound itself is no excess."""
    server = UsersServer(web.Response(body=b"x" * 301))
    scene = await use_webhook(stage, server, new_secret(), monkeypatch, max_result_bytes=301)
    assert scene.facts.of(ToolReturned)[0].output == "x" * 301


@BOTH
@pytest.mark.parametrize("text", ["", "Let me see."])
@pytest.mark.proves("agent.tools.webhook.filler")
async def test_caller_who_waits_hears_the_filler(stage: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Once, before the answer, and only if the model itself says nothing; the model does not get to know of it."""
    told = text or "One moment."

    def is_answered(scene: Any) -> bool:
        return ("agent", "Done.") in scene.transcript()

    scene = await use_webhook(
        stage, UsersServer(0.9), new_secret(), monkeypatch, is_answered, text, timeout_ms=3000, filler="One moment."
    )
    assert scene.transcript() == [("caller", "Weather?"), ("agent", told), ("agent", "Done.")]
    assert "One moment." not in str(stage.script.contexts)


async def test_a_quick_answer_needs_no_filler(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to wait for what is there."""
    server = UsersServer(web.json_response({}))
    await use_webhook(stage, server, new_secret(), monkeypatch, filler="One moment.")
    assert "One moment." not in stage.script.spoken


@pytest.mark.proves("agent.tools.webhook.bound")
async def test_who_is_calling_is_not_the_models_to_say(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was talked into another number reaches nobody; one that asks plainly sends the caller's."""
    stage.script.replies = [stage.call("weather", {"city": "Oslo", "phone": "+15559999"}), "Done."]
    server = UsersServer(web.json_response({"sky": "grey"}))
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "phone": {"type": "string"}}}
    scene = await use_webhook(
        stage,
        server,
        new_secret(),
        monkeypatch,
        lambda scene: len(scene.facts.of(ToolReturned)) == 2,
        parameters=parameters,
        bound={"phone": "{{call.caller_number}}"},
    )
    ((_, body),) = server.requests
    assert json.loads(body)["arguments"] == {"city": "Oslo", "phone": "+15550001"}
    plain, forged = scene.facts.of(ToolCalled)
    assert (plain.arguments, plain.bound) == ({"city": "Oslo"}, {"phone": "+15550001"})
    assert forged.arguments["phone"] == "+15559999"
    assert [fact.is_ok for fact in scene.facts.of(ToolReturned)] == [True, False]
    assert "+15550001" not in str(stage.script.contexts)


@BOTH
def test_function_that_was_never_offered_is_an_answer_and_a_fact(stage: Any) -> None:
    """A model that makes one up is told so and goes on; the record shows what it wanted."""
    stage.script.caller = ["Refund me."]
    stage.script.replies = [stage.call("refund", {"amount": 100}), "I cannot."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "I cannot.") in scene.transcript())
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(), act)
    (called,), (returned,) = scene.facts.of(ToolCalled), scene.facts.of(ToolReturned)
    assert (called.tool, called.arguments) == ("refund", {"amount": 100})
    assert (returned.is_ok, returned.output) == (False, {"error": "There is no such function."})


@pytest.mark.parametrize("execution", ["sync", "async"])
@pytest.mark.proves("agent.tools.webhook.execution")
async def test_an_interruption_cancels_only_what_is_waited_for(
    stage: Any, monkeypatch: pytest.MonkeyPatch, execution: str
) -> None:
    """While an async tool works the conversation goes on, and its answer enters it later."""
    stage.script.caller = ["Weather?", "And tea?"]
    stage.script.replies = ["Yes.", "It is grey."]
    speaking: list[asyncio.Task[None]] = []

    def is_over(scene: Any) -> bool:
        if scene.facts.of(ToolCalled) and not speaking:
            speaking.append(asyncio.create_task(scene.carrier.speak(0.2)))
        last = "It is grey." if execution == "async" else "Yes."
        return ("agent", last) in scene.transcript()

    server = UsersServer(1.5)
    scene = await use_webhook(stage, server, new_secret(), monkeypatch, is_over, timeout_ms=5000, execution=execution)
    (returned,) = scene.facts.of(ToolReturned)
    assert returned.is_ok == (execution == "async")
    assert len(server.requests) == 1
    assert ("caller", "And tea?") in scene.transcript()
    if execution == "async":
        assert scene.transcript()[-2:] == [("agent", "Yes."), ("agent", "It is grey.")]
        assert "grey" in str(stage.script.contexts[-1][-1])
        assert "grey" not in str(stage.script.contexts[-2])


@pytest.mark.proves("agent.guardrails.max_tool_calls_per_turn")
def test_model_that_cannot_stop_is_stopped(stage: Any) -> None:
    """Beyond the allowance nothing is run; a model that insists is not asked again, and the caller not left in silence.
    The next turn begins anew."""
    stage.script.caller = ["Weather?", "Once more."]
    stage.script.replies = [*[stage.call("weather", {"city": "Oslo"})] * (2 + WARNINGS + 1), *["Fine."] * 3]
    stage.script.replies.insert(2 + WARNINGS + 1, stage.call("weather", {"city": "Oslo"}))

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", please_repeat("en-US")) in scene.transcript())
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "Fine."))
        scene.carrier.hang_up()
        await scene.outcome()

    agent = stage.an_agent(tools=(a_webhook("http://192.0.2.1/"),))
    scene = stage.play(replace(agent, guardrails=Guardrails(max_tool_calls_per_turn=2)), act)
    errors = [fact.output["error"] for fact in scene.facts.of(ToolReturned)]
    assert ["too many functions" in error for error in errors] == [False, False, True, True, True, False]
    assert [fact.turn for fact in scene.facts.of(ToolCalled)] == [1, 1, 1, 1, 1, 2]
