"""A whole call over the protocol of each vendor whose model hears and speaks. In real time: there are sockets."""

import importlib
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from aiohttp import web
from msgspec.structs import replace

from turncall_egress.signing import new_secret
from turncall_media import registry
from turncall_media.pipelines import build
from turncall_proto.agent import SpeechToSpeech, VendorRef
from turncall_proto.events import ToolReturned, TranscriptFinal, TurnMeasured, UsageReported, VendorFailed
from turncall_testkit.vendors import FAKES, Call, Manners, Reply

from .users_server import UsersServer, a_webhook

REPLIES: Final = (
    Reply(text="One moment.", calls=(Call(name="weather", arguments={"city": "Oslo"}),)),
    Reply(text="It is grey. It will rain all day. Take an umbrella."),
    Reply(text="Goodbye."),
)
HEARD: Final = ("Weather in Oslo?", "Thank you.")


def openai_knows(fake: Any) -> None:
    """Its session forgot what was not heard, and has the tool's answer."""
    (heard_ms,) = fake.truncated.values()
    assert 300 < heard_ms < 1500
    kinds = [item["type"] for item in fake.conversation]
    assert kinds == [*["message"] * 3, "function_call", "function_call_output", *["message"] * 3]
    assert "grey" in fake.conversation[4]["output"]
    assert [tool["name"] for tool in fake.sessions[0]["tools"]] == ["weather"]


def google_knows(fake: Any) -> None:
    """Its session was told what was heard, and has the tool's answer."""
    texts = [part.get("text", "") for turn in fake.conversation for part in turn["parts"]]
    assert len([text for text in texts if "heard only this of your last reply: It is grey." in text]) == 1
    parts = [part for turn in fake.conversation for part in turn["parts"]]
    answers = [str(part["functionResponse"]["response"]) for part in parts if "functionResponse" in part]
    assert ["grey" in answer for answer in answers] == [True]
    assert len(fake.sessions) == 1


def ultravox_knows(fake: Any) -> None:
    """Its call has the tool's answer, and was never made again."""
    assert ["grey" in one["text"] for one in fake.conversation if one["role"] == "MESSAGE_ROLE_TOOL_RESULT"] == [True]
    assert len(fake.sessions) == 1


def aws_knows(fake: Any) -> None:
    """Its session has the tool's answer, was never opened again, and had each message signed with the access key."""
    assert ["grey" in one["text"] for one in fake.conversation if one["role"] == "TOOL"] == [True]
    assert len(fake.sessions) == 1
    assert fake.secret


KNOW: Final[dict[str, Callable[[Any], None]]] = {
    "aws": aws_knows,
    "google": google_knows,
    "openai": openai_knows,
    "ultravox": ultravox_knows,
}


@pytest.mark.parametrize("vendor", [vendor for vendor, kind in FAKES if kind == "speech"])
async def test_a_call_with_a_tool_and_an_interruption(stage: Any, monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    """The greeting is said by the model, a tool of the user's own server is used, the reply to it is cut off where the
    caller stopped listening, and the session, the transcript and the usage tell of it all."""
    module = loaded(vendor)
    monkeypatch.setattr(registry, "load", lambda *_: module)
    monkeypatch.setattr(build, "_signing_secrets", lambda *_: (new_secret(),))
    server = UsersServer(web.json_response({"sky": "grey"}))
    start: Callable[..., Any] = FAKES[vendor, "speech"]
    async with start(replies=REPLIES, transcripts=HEARD, key="opened box:1") as fake, server.listening() as url:
        fake.manners = Manners(pace_s=0.02)
        fake.speech_s = 1.5
        model = VendorRef(vendor=vendor, options=fake.options("speech"))
        agent = stage.an_agent("Hello.", tools=(a_webhook(url),), silence_timeout_ms=200, vad_start_ms=60)
        scene = stage.scene(replace(agent, pipeline=SpeechToSpeech(model=model)))
        scene.plan = replace(scene.plan, secrets={vendor: "box:1"}, own_vendors=(vendor,))
        try:
            await scene.begin()
            await scene.carrier.until(lambda: scene.transcript() == [("agent", "Hello.")])
            await scene.carrier.speak(0.4)
            await scene.carrier.until(lambda: scene.carrier.heard_s() > 3.7)
            await scene.carrier.speak(0.4)
            await scene.carrier.until(lambda: ("agent", "Goodbye.") in scene.transcript())
            await scene.carrier.until(lambda: ("caller", HEARD[1]) in scene.transcript())
            scene.carrier.hang_up()
            await scene.outcome()
        finally:
            scene.carrier.drop()
    assert not [fact for fact in scene.facts.of(ToolReturned) if not fact.is_ok]
    assert [json.loads(body)["arguments"] for _, body in server.requests] == [{"city": "Oslo"}]
    said = [(fact.speaker, fact.turn, fact.text) for fact in scene.facts.of(TranscriptFinal)]
    assert [one for one in said if one[0] == "caller"] == [("caller", 1, HEARD[0]), ("caller", 2, HEARD[1])]
    agents = [text for speaker, _, text in said if speaker == "agent"]
    assert (agents[0], agents[1], agents[-1]) == ("Hello.", "One moment.", "Goodbye.")
    assert REPLIES[1].text.startswith(agents[2])
    assert agents[2] != REPLIES[1].text
    assert all(measured.reply_ms > 180 for measured in scene.facts.of(TurnMeasured))
    (usage,) = scene.facts.of(UsageReported)
    assert (usage.kind, usage.vendor) == ("speech", vendor)
    assert usage.audio_ms > 5500  # four lines; less than a millisecond of each piece is not counted
    assert scene.facts.of(VendorFailed) == []
    KNOW[vendor](fake)


def loaded(vendor: str) -> Any:
    """The vendor's own code; the stage puts vendors that follow a script in its place."""
    return importlib.import_module(f"turncall_media.providers.{vendor}.speech")
