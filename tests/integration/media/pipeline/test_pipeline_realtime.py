"""A whole call over OpenAI's Realtime protocol. In real time: there are sockets."""

import json
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from turncall_egress.signing import new_secret
from turncall_media import registry
from turncall_media.pipelines import build
from turncall_media.providers.openai import speech
from turncall_proto.agent import SpeechToSpeech, VendorRef
from turncall_proto.events import ToolReturned, TranscriptFinal, TurnMeasured, UsageReported, VendorFailed
from turncall_testkit.vendors import Call, Manners, Reply, realtime_fake

from .users_server import UsersServer, a_webhook

REPLIES = (
    Reply(text="One moment.", calls=(Call(name="weather", arguments={"city": "Oslo"}),)),
    Reply(text="It is grey. It will rain all day. Take an umbrella."),
    Reply(text="Goodbye."),
)


async def test_a_call_with_a_tool_and_an_interruption(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting is said by the model, a tool of the user's own server is used, the reply to it is cut off where the
    caller stopped listening, and the session, the transcript and the usage tell of it all."""
    monkeypatch.setattr(registry, "load", lambda kind, vendor: speech)
    monkeypatch.setattr(build, "_signing_secrets", lambda *_: (new_secret(),))
    server = UsersServer(web.json_response({"sky": "grey"}))
    heard = ("Weather in Oslo?", "Thank you.")
    async with realtime_fake(replies=REPLIES, transcripts=heard, key="opened box") as fake, server.listening() as url:
        fake.manners = Manners(pace_s=0.02)
        fake.speech_s = 1.5
        model = VendorRef(vendor="openai", options=fake.options("speech"))
        agent = stage.an_agent("Hello.", tools=(a_webhook(url),), silence_timeout_ms=200, vad_start_ms=60)
        scene = stage.scene(replace(agent, pipeline=SpeechToSpeech(model=model)))
        scene.plan = replace(scene.plan, secrets={"openai": "box"}, own_vendors=("openai",))
        try:
            await scene.begin()
            await scene.carrier.until(lambda: scene.transcript() == [("agent", "Hello.")])
            await scene.carrier.speak(0.4)
            await scene.carrier.until(lambda: scene.carrier.heard_s() > 3.7)
            await scene.carrier.speak(0.4)
            await scene.carrier.until(lambda: ("agent", "Goodbye.") in scene.transcript())
            scene.carrier.hang_up()
            await scene.outcome()
        finally:
            scene.carrier.drop()
    assert not [fact for fact in scene.facts.of(ToolReturned) if not fact.is_ok]
    assert [json.loads(body)["arguments"] for _, body in server.requests] == [{"city": "Oslo"}]
    said = [(fact.speaker, fact.turn, fact.text) for fact in scene.facts.of(TranscriptFinal)]
    assert [one for one in said if one[0] == "caller"] == [("caller", 1, heard[0]), ("caller", 2, heard[1])]
    agents = [text for speaker, _, text in said if speaker == "agent"]
    assert (agents[0], agents[1], agents[-1]) == ("Hello.", "One moment.", "Goodbye.")
    assert REPLIES[1].text.startswith(agents[2])
    assert agents[2] != REPLIES[1].text
    (heard_ms,) = fake.truncated.values()
    assert 300 < heard_ms < 1500
    kinds = [item["type"] for item in fake.conversation]
    assert kinds == [*["message"] * 3, "function_call", "function_call_output", *["message"] * 3]
    assert "grey" in fake.conversation[4]["output"]
    assert [tool["name"] for tool in fake.sessions[0]["tools"]] == ["weather"]
    assert all(measured.reply_ms > 180 for measured in scene.facts.of(TurnMeasured))
    (usage,) = scene.facts.of(UsageReported)
    assert (usage.kind, usage.vendor, usage.model) == ("speech", "openai", "fake-1")
    assert (usage.input_audio_tokens, usage.output_audio_tokens) == (20 * 4, 40 * 4)
    assert scene.facts.of(VendorFailed) == []
