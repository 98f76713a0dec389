"""The demonstration's caller answers what it is asked, and again what was lost."""

from datetime import UTC, datetime
from typing import Any

import pytest

from turncall.client.shapes import StoredFact
from turncall.demo import patient
from turncall.demo.patient import Patient, Recording


def spoken(text: str, *, epoch: int = 1, speaker: str = "agent", type: str = "transcript.final") -> StoredFact:
    data: Any = {"speaker": speaker, "text": text}
    now = datetime.now(UTC)
    return StoredFact(call_seq=1, epoch=epoch, seq=1, type=type, at=now, data=data)


async def answers(*facts: StoredFact) -> list[Recording]:
    said: list[Recording] = []

    async def say(name: Recording) -> None:
        said.append(name)

    person = Patient(say)
    for fact in facts:
        await person.hear(fact)
    return said


async def test_each_question_is_answered() -> None:
    """The last one with a question of its own, and then with a goodbye."""
    asked = ("How can I help you?", "Which day would suit you?", "At what time?", "Booked. Is there anything else?")
    said = await answers(*map(spoken, asked), spoken("We open at eight. Is there anything else?"), spoken("Goodbye."))
    assert said == ["book", "day", "time", "hours", "goodbye"]


async def test_what_was_lost_is_said_again() -> None:
    """Asked to repeat, it says its last words; what a dead worker is late to tell of is not answered."""
    said = await answers(
        spoken("I did not understand."),
        spoken("How can I help you?"),
        spoken("Could you say that again?", epoch=2),
        spoken("How can I help you?", epoch=1),
        spoken("How can I help you?", epoch=2, speaker="caller"),
        spoken("", epoch=2, type="call.resumed"),
    )
    assert said == ["book", "book"]


async def test_silence_is_not_waited_out_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody replies the last words are said again, three times at most."""
    monkeypatch.setattr(patient, "PATIENCE_S", 0.0)
    said: list[Recording] = []

    async def say(name: Recording) -> None:
        said.append(name)

    person = Patient(say)
    await person.hear(spoken("How can I help you?"))
    await person._nudge()
    assert said == ["book"] * 4
