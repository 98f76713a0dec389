"""What goes beside the voice: keys, both ways, and a link that the agent has sent to the caller's phone."""

import asyncio
import json
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from msgspec.structs import replace

from turncall_egress.signing import new_secret
from turncall_media.audio import mulaw
from turncall_media.audio.tones import COLUMNS_HZ, KEYS, PAUSE_MS, ROWS_HZ, TONE_MS
from turncall_media.pipelines import build
from turncall_proto.agent import Keypad, SendDtmfTool, SendLinkTool
from turncall_proto.events import DtmfReceived, ToolCalled, ToolReturned

from .both import BOTH
from .users_server import UsersServer, a_webhook

QUIET = bytes([0xFF] * 160)


def keys_heard(frames: list[bytes]) -> list[tuple[str, int]]:
    """What a menu at the other end makes of the audio: each key, or "" for anything else, and for how many ms."""
    heard = [key_in(frame) for frame in frames]
    return [(key, 20 * len(list(run))) for key, run in groupby(heard)]


def key_in(frame: bytes) -> str:
    """The key whose two tones hold nearly all the energy of 20 ms."""
    samples = np.frombuffer(mulaw.decode(frame), "<i2").astype(float)
    if frame == QUIET or not (energy := float(samples @ samples)):
        return ""
    seconds = np.arange(160) / 8000

    def share(hz: int) -> float:
        return 2 * abs(np.exp(2j * np.pi * hz * seconds) @ samples) ** 2 / (160 * energy)

    row, column = (max(range(4), key=lambda index: share(tones[index])) for tones in (ROWS_HZ, COLUMNS_HZ))
    return KEYS[row][column] if share(ROWS_HZ[row]) + share(COLUMNS_HZ[column]) > 0.8 else ""


@BOTH
@pytest.mark.proves("agent.tools.send_dtmf.name")
def test_keys_of_the_agent_are_heard_as_tones(stage: Any) -> None:
    """Behind what it says, in their order, long enough for any menu; the call and its stream go on."""
    stage.script.caller = ["For sales, press nine.", "Hello, sales."]
    stage.script.replies = [stage.call("dial", {"digits": "19w#D"}, text="One moment."), "Thank you.", "Hello."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: ("agent", "Thank you.") in scene.transcript())
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1] == ("agent", "Hello."))
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(SendDtmfTool(name="dial"),)), act)
    heard = keys_heard(scene.carrier.heard)
    pressed = [(key, ms) for key, ms in heard if key]
    assert [key for key, _ in pressed] == list("19#D")
    assert all(TONE_MS - 20 <= ms <= TONE_MS + 20 for _, ms in pressed)
    pauses = [
        ms for (before, _), (_, ms), (after, _) in zip(heard, heard[1:], heard[2:], strict=False) if before and after
    ]
    assert [ms >= PAUSE_MS - 20 for ms in pauses] == [True] * 3
    assert pauses[1] >= 500
    (returned,) = scene.facts.of(ToolReturned)
    assert (returned.is_ok, returned.output) == (True, {"sent": "19w#D"})
    assert [text for speaker, text in scene.transcript() if speaker == "agent"] == [
        "One moment.",
        "Thank you.",
        "Hello.",
    ]


@BOTH
@pytest.mark.proves("agent.tools.send_dtmf.description")
def test_keys_that_no_telephone_has_are_not_sent(stage: Any) -> None:
    """The model is told, and nothing is heard; it knows the tool as the agent describes it."""
    stage.script.caller = ["Press x."]
    stage.script.replies = [stage.call("send_dtmf", {"digits": "x"}), "I cannot."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "I cannot.")])
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(tools=(SendDtmfTool(description="Dials."),)), act)
    assert not scene.facts.of(ToolReturned)[0].is_ok
    assert not [key for key, _ in keys_heard(scene.carrier.heard) if key]
    assert stage.script.tools[0] == ["Dials."]


@BOTH
def test_a_link_is_sent_while_the_caller_is_on_the_line(stage: Any) -> None:
    """Control is asked with the agent's page and words, and the conversation goes on."""
    stage.script.caller = ["Text me a link."]
    stage.script.replies = [stage.call("send_link", {}), "It is on its way."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.6)
        await scene.carrier.until(lambda: scene.transcript()[-1:] == [("agent", "It is on its way.")])
        scene.carrier.hang_up()
        await scene.outcome()

    link = SendLinkTool(url="https://example.com/chat", text="Go on here:")
    scene = stage.play(stage.an_agent(tools=(link,)), act)
    ((url, text, _),) = scene.links
    assert (url, text) == ("https://example.com/chat", "Go on here:")
    assert scene.facts.of(ToolReturned)[0].output == {"sent": True}


@pytest.mark.parametrize(
    ("keypad", "told"),
    [
        (Keypad(timeout_ms=5000), ["DTMF: 421#", "DTMF: *9"]),
        (Keypad(timeout_ms=500), ["DTMF: 42", "DTMF: 1#", "DTMF: *9"]),
        (Keypad(timeout_ms=5000, terminator="*"), ["DTMF: 421#*", "DTMF: 9"]),
    ],
)
@BOTH
@pytest.mark.proves("agent.keypad.timeout_ms", "agent.keypad.terminator")
def test_keys_of_the_caller_are_complete_when_the_agent_says_so(stage: Any, keypad: Keypad, told: list[str]) -> None:
    """After a pause of that length or with that key they reach the agent as the caller's words."""
    stage.script.replies = ["."] * 3

    async def act(scene: Any) -> None:
        for digit in "42":
            scene.carrier.press(digit)
        await asyncio.sleep(3)
        for digit in "1#*9":
            scene.carrier.press(digit)
        await scene.carrier.until(
            lambda: len([1 for speaker, _ in scene.transcript() if speaker == "caller"]) == len(told)
        )
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(replace(stage.an_agent(), keypad=keypad), act)
    assert [text for speaker, text in scene.transcript() if speaker == "caller"] == told


@BOTH
@pytest.mark.proves("agent.keypad.masked")
async def test_secret_keys_reach_the_tools_server_alone(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model, the transcript and every fact have stars; one key alone is a choice, and stays readable."""
    card = "4929123456781234"
    monkeypatch.setattr(build, "_signing_secrets", lambda *_: (new_secret(),))
    shop = UsersServer(web.json_response({"is_paid": True}))
    stage.script.replies = ["Your card?", stage.call("weather", {"city": "Oslo"}), "Paid."]
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "card": {"type": "string"}}}
    async with shop.listening() as url:
        tool = a_webhook(url, parameters=schema, bound={"card": "{{call.keys}}"})
        agent = replace(stage.an_agent(tools=(tool,)), keypad=Keypad(timeout_ms=5000, masked=True))
        scene = stage.scene(agent)
        await scene.begin()
        for digits, said in (("1#", "DTMF: 1#"), (f"{card}#", f"DTMF: {'*' * len(card)}#")):
            for digit in digits:
                scene.carrier.press(digit)
            await scene.carrier.until(partial(_has_said, scene, "caller", said), within_s=20)
        await scene.carrier.until(partial(_has_said, scene, "agent", "Paid."), within_s=20)
        scene.carrier.hang_up()
        await scene.running
    assert [json.loads(body)["arguments"]["card"] for _, body in shop.requests] == [card]
    assert {(fact.digit, fact.is_masked) for fact in scene.facts.of(DtmfReceived)} == {("*", True)}
    (called,) = scene.facts.of(ToolCalled)
    assert (called.arguments, called.bound) == ({"city": "Oslo"}, {"card": "{{call.keys}}"})
    assert card not in repr((stage.script.contexts, scene.facts.all))


def _has_said(scene: Any, speaker: str, text: str) -> bool:
    return (speaker, text) in scene.transcript()
