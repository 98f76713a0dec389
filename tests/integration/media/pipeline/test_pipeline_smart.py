"""Turns whose end a model judges by their sound."""

import asyncio
from typing import Any

import pytest

from turncall_media.turns import smart
from turncall_proto.events import TurnMeasured

from .both import BOTH

pytestmark = BOTH


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the model says at each pause; the real one lives in a thread, which virtual time does not wait for."""
    said: list[bool] = []
    monkeypatch.setattr(smart, "warm", lambda *_: None)
    return said


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, verdicts: list[bool]) -> list[bytes]:
    """What the model was asked about."""
    asked: list[bytes] = []

    async def is_done(pcm: bytes, rate_hz: int) -> bool:
        asked.append(pcm)
        await asyncio.sleep(0.1)
        return verdicts.pop(0)

    monkeypatch.setattr(smart, "is_done", is_done)
    return asked


@pytest.mark.proves("agent.turn_taking.end_of_turn")
def test_turn_ends_as_soon_as_the_caller_sounds_done(stage: Any, verdicts: list[bool], judged: list[bytes]) -> None:
    """Done: the turn ends with the verdict. Not done: the silence decides. Each is judged by its own words."""
    stage.script.caller = ["Two, please.", "I would like"]
    verdicts += [True, False]

    async def act(scene: Any) -> None:
        for turn in (1, 2):
            await scene.carrier.speak(1.0)
            await scene.carrier.until(lambda turn=turn: len(scene.facts.of(TurnMeasured)) == turn)
            await scene.carrier.until(lambda turn=turn: len(scene.transcript()) == 2 * turn)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(end_of_turn="smart", silence_timeout_ms=1500), act)
    quick, slow = scene.facts.of(TurnMeasured)
    assert 280 <= quick.endpointing_ms <= 350
    assert 1450 <= slow.endpointing_ms <= 1550
    assert all(1100 <= len(pcm) / 16 <= 1900 for pcm in judged), [len(pcm) for pcm in judged]


def test_caller_who_goes_on_is_not_cut_off_by_an_old_verdict(
    stage: Any, verdicts: list[bool], judged: list[bytes]
) -> None:
    """A verdict about words that the caller has gone on from counts no more; a pause makes no second turn."""
    said = "I would like", "two, please."
    stage.script.caller = list(said) if stage.pipeline == "cascade" else [" ".join(said)]
    verdicts += [False, True]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.8)
        await asyncio.sleep(0.7)
        await scene.carrier.speak(0.8)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    scene = stage.play(stage.an_agent(end_of_turn="smart", silence_timeout_ms=1500), act)
    assert scene.transcript()[0] == ("caller", "I would like two, please.")
    assert len(judged) == 2
    assert len(judged[1]) - len(judged[0]) >= 16 * 1400, "the turn is judged as a whole"


def test_without_it_no_model_is_asked(stage: Any, verdicts: list[bool], judged: list[bytes]) -> None:
    """Silence alone decides, as it does for agents that say nothing about it."""
    stage.script.caller = ["Yes."]

    async def act(scene: Any) -> None:
        await scene.carrier.speak(0.8)
        await scene.carrier.until(lambda: len(scene.transcript()) == 2)
        scene.carrier.hang_up()
        await scene.outcome()

    stage.play(stage.an_agent(), act)
    assert judged == []
