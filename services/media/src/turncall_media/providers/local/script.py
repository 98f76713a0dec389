"""A conversation written down: what callers may want, what must be asked, which tool does it, what is said."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from turncall_media.providers.local.words import words

LARGEST_EXPECTATION: Final = 5000
"""Phrases that `expected_phrases` lists at most."""

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)")]
Phrase = Annotated[str, Meta(min_length=1, max_length=200, description="What a caller may say, in plain words.")]
Phrases = Annotated[tuple[Phrase, ...], Meta(min_length=1, max_length=100)]
Line = Annotated[
    str,
    Meta(
        max_length=1000,
        description="What the agent says. {{slot}} is the caller's choice; {{result.field}} is from the tool's answer, "
        "as deep as need be ({{result.passages.0.text}}); {{known}} is the sentence of its knowledge that fits best.",
    ),
]


class Value(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One choice for a slot. ``value`` goes to the tool, ``says`` (empty: the same) into the agent's lines."""

    value: Annotated[str, Meta(min_length=1, max_length=200)]
    hears: Phrases
    says: Line = ""


class Slot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something the agent must know before it can act. ``reask`` (empty: ``ask``) follows an answer not understood."""

    name: Name
    ask: Annotated[Line, Meta(min_length=1)]
    reask: Line = ""
    values: Annotated[tuple[Value, ...], Meta(min_length=1, max_length=100)]


class ToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool of the agent, and its arguments; text may hold ``{{slot}}``. ``fails`` is said when it does not work."""

    tool: Name
    arguments: dict[str, str | int | float | bool] = {}
    fails: Annotated[Line, Meta(min_length=1)] = "I am sorry, that did not work. Please try again later."


class Intent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a caller wants: its slots are asked for in turn, then the tool is called, then ``says`` is said.

    ``corrects`` is said before the tool is called again for a caller who changed a choice ("no, Wednesday").
    """

    name: Name
    hears: Phrases
    slots: Annotated[tuple[Slot, ...], Meta(max_length=16)] = ()
    calls: ToolCall | None = None
    says: Annotated[Line, Meta(min_length=1)]
    corrects: Line = ""
    then: Annotated[
        Literal["listen", "end_call"], Meta(description="end_call also calls the agent's tool end_call.")
    ] = "listen"


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the agent can talk about.

    ``greeting`` is said when the model is asked before the caller spoke. ``more`` follows each wish that is dealt with.
    ``fallback`` lines take turns while nothing is understood.
    """

    intents: Annotated[tuple[Intent, ...], Meta(min_length=1, max_length=100)]
    greeting: Line = ""
    more: Line = ""
    fallback: Annotated[tuple[Annotated[Line, Meta(min_length=1)], ...], Meta(min_length=1, max_length=10)] = (
        "I am sorry, I did not understand that.",
        "I still did not understand. Could you say it in other words?",
    )


def expected_phrases(script: Script) -> tuple[str, ...]:
    """Every utterance that the script was written for, as plain words, each once: what is wanted, the answers to
    questions, two answers in one breath, answers after what is wanted, and corrections. The first
    `LARGEST_EXPECTATION`, plain ones before combined ones."""
    plain = (phrase for intent in script.intents for phrase in intent.hears)
    answers = (phrase for intent in script.intents for slot in intent.slots for phrase in _answers(slot))
    combined = (phrase for intent in script.intents for phrase in _combined(intent))
    unique: dict[str, None] = {}
    for source in (plain, answers, combined):
        for phrase in source:
            unique.setdefault(" ".join(words(phrase)))
            if len(unique) > LARGEST_EXPECTATION:
                break
    return tuple(phrase for phrase in unique if phrase)[:LARGEST_EXPECTATION]


def _answers(slot: Slot) -> Iterator[str]:
    for value in slot.values:
        yield from value.hears


def _combined(intent: Intent) -> Iterator[str]:
    for slot in intent.slots:
        yield from (f"no {answer}" for answer in _answers(slot))
        yield from (f"{wish} {answer}" for wish, answer in product(intent.hears, _answers(slot)))
    for first, second in pairwise(intent.slots):
        yield from (f"{one} {other}" for one, other in product(_answers(first), _answers(second)))
