"""Who is lost in the middle of what it was doing: the caller bears it, and the record says what was heard."""

import importlib
import json
from typing import Any, Final

import pytest
from aiohttp import web
from msgspec.structs import replace

from turncall_egress.signing import new_secret
from turncall_media import registry
from turncall_media.pipelines import build
from turncall_media.pipelines.apologies import apology
from turncall_proto.agent import Fallbacks, SpeechToSpeech, VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.events import ToolReturned, VendorFailed
from turncall_testkit.vendors import Call, Manners, Reply, realtime_fake

from .both import BOTH
from .users_server import UsersServer, a_webhook

NINE: Final = "Nine ten eleven twelve."
LONG: Final = f"One two three four five six seven eight. {NINE} Thirteen fourteen."


def failures(scene: Any) -> list[tuple[str, str, bool]]:
    """Of vendors: stage, who took over, and whether the call ended of it."""
    return [(fact.kind, fact.taken_over_by, fact.is_fatal) for fact in scene.facts.of(VendorFailed)]


def voice_of(stage: Any) -> str:
    """The stage that speaks."""
    return "tts" if stage.mind == "llm" else "speech"


def with_second(stage: Any) -> Any:
    """An agent of which whoever speaks has a fallback, with a script of its own."""
    agent = stage.an_agent()
    stage.understudies["second"] = type(stage.script)()
    second = (VendorRef(vendor="second"),)
    return replace(
        agent,
        pipeline=replace(agent.pipeline, fallbacks=second if stage.mind == "speech" else Fallbacks(tts=second)),
    )


@BOTH
def test_who_breaks_off_in_a_sentence_is_replaced(stage: Any) -> None:
    """The caller hears another voice without saying anything: a voice says the cut sentence again, a model that hears
    and speaks answers anew. What was heard of the first one is in the transcript, and no more of it."""
    agent = with_second(stage)
    stage.script.caller, stage.script.replies, stage.script.voice_breaks_in = ["Hello?"], [LONG], "Nine"
    stage.script.chunk_s = 0.1
    stage.understudies["second"].replies = ["Let me say it again."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: stage.understudies["second"].spoken)
        heard_s = scene.carrier.heard_s()
        assert heard_s > 1.0
        await scene.carrier.until(lambda: scene.carrier.heard_s() > heard_s + 0.8)
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(agent, act)
    assert failures(scene) == [(voice_of(stage), "second", False)]
    said = " ".join(text for who, text in scene.transcript() if who == "agent")
    assert said.startswith("One two")
    assert said.endswith(f"{NINE} Thirteen fourteen." if stage.mind == "llm" else "Let me say it again.")
    assert said.count("Thirteen") == (1 if stage.mind == "llm" else 0)
    assert [who for who, _ in scene.transcript()].count("caller") == 1


@BOTH
def test_a_model_that_never_comes_to_an_end_is_given_up(stage: Any) -> None:
    """Without a fallback it is asked anew once, away with the half; when that breaks off as well, the caller hears an
    apology, not the same half for ever. A whole reply starts the count again."""
    stage.script.caller = ["Hello?", "And now?"]
    half = stage.half("One two three four.")
    stage.script.replies = [half, "Here I am.", half, half]
    stage.script.chunk_s = 0.1

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "Here I am.") in scene.transcript())
        await scene.carrier.until(lambda: not scene.carrier.is_agent_heard)
        await scene.carrier.speak(0.6)
        assert (await scene.outcome()).reason is EndedReason.VENDOR_ERROR

    scene = stage.play(stage.an_agent(), act)
    assert failures(scene) == [(stage.mind, "", False), (stage.mind, "", False), (stage.mind, "", True)]
    assert [text for who, text in scene.transcript() if who == "agent"][-1] == apology("en")
    assert stage.script.replies == []


@BOTH
async def test_a_tool_that_hangs_or_floods_is_something_to_talk_about(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer, and one that answers with two megabytes: the model is told, in few words, and the
    caller hears what it makes of that."""
    monkeypatch.setattr(build, "_signing_secrets", lambda *_: (new_secret(),))
    server = UsersServer(1.5, web.Response(body=b"x" * 2_000_000))
    stage.script.caller = ["Weather?"]
    ask = stage.call("weather", {"city": "Oslo"})
    stage.script.replies = [ask, ask, "I cannot look it up."]
    async with server.listening() as url:
        tools = (a_webhook(url, timeout_ms=300),)
        agent = stage.an_agent("Hello.", tools=tools, silence_timeout_ms=100, vad_start_ms=60)
        scene = stage.scene(agent)
        try:
            await scene.begin()
            await scene.carrier.until(lambda: scene.transcript() == [("agent", "Hello.")])
            greeted_s = scene.carrier.heard_s()
            await scene.carrier.speak(0.3)
            await scene.carrier.until(lambda: ("agent", "I cannot look it up.") in scene.transcript())
            assert scene.carrier.heard_s() > greeted_s + 0.8
            scene.carrier.hang_up()
            await scene.running
        finally:
            scene.carrier.drop()
    hung, flooded = scene.facts.of(ToolReturned)
    assert (hung.is_ok, flooded.is_ok) == (False, True)
    assert "did not answer in time" in hung.output["error"]
    assert flooded.output["is_truncated"]
    assert len(json.dumps(stage.script.contexts[-1])) < 100_000
    assert failures(scene) == []


async def test_a_model_that_hears_and_speaks_is_lost_on_its_own_wire(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over OpenAI's protocol: a tool called with arguments that are none is told so; the session ends in the middle of
    the next reply, and the caller hears the same model answer anew, in another session that knows the conversation."""
    module = importlib.import_module("turncall_media.providers.openai.speech")
    monkeypatch.setattr(registry, "load", lambda *_: module)
    monkeypatch.setattr(build, "_signing_secrets", lambda *_: (new_secret(),))
    server = UsersServer(web.json_response({"sky": "grey"}))
    replies = (
        Reply(calls=(Call(name="weather", written='{"city": "Os'),)),
        Reply(text="It is grey. Take an umbrella."),
        Reply(text="Grey, I said."),
    )
    async with realtime_fake(replies=replies, transcripts=("Weather?",), key="opened box") as fake:
        fake.speech_s = 2.0
        fake.manners = Manners(pace_s=0.12)
        async with server.listening() as url:
            model = VendorRef(vendor="openai", options=fake.options("speech"))
            agent = stage.an_agent("Hello.", tools=(a_webhook(url),), silence_timeout_ms=200, vad_start_ms=60)
            scene = stage.scene(replace(agent, pipeline=SpeechToSpeech(model=model)))
            scene.plan = replace(scene.plan, secrets={"openai": "box"}, own_vendors=("openai",))
            try:
                await scene.begin()
                await scene.carrier.until(lambda: scene.transcript() == [("agent", "Hello.")])
                greeted_s = scene.carrier.heard_s()
                await scene.carrier.speak(0.4)
                await scene.carrier.until(lambda: scene.carrier.heard_s() > greeted_s + 0.5)
                await fake.expire()
                fake.manners = Manners()
                await scene.carrier.until(lambda: ("agent", "Grey, I said.") in scene.transcript())
                assert scene.carrier.heard_s() > greeted_s + 2.0
                scene.carrier.hang_up()
                await scene.outcome()
            finally:
                scene.carrier.drop()
    assert server.requests == []
    (returned,) = scene.facts.of(ToolReturned)
    assert not returned.is_ok
    assert failures(scene) == [("speech", "", False)]
    assert len(fake.sessions) >= 2
    assert ("caller", "Weather?") in scene.transcript()
