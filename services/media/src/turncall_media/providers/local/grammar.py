"""Expected phrases as a finite automaton of words: small, whatever the phrases have in common."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from turncall_media.providers.local.words import words

START: Final = 0
END: Final = 1
OPENERS: Final = ("um", "uh", "hello", "hi", "yes", "okay")
CLOSERS: Final = ("please", "thanks", "thank you")
_EXTRA_WEIGHT: Final = 0.01
"""Of a word that need not be there, since the phrase is whole without it: enough to be heard when it is said, too
little to be heard in the noise after the last word."""
KEPT: Final = 32

type Phrase = tuple[str, ...]


class Step(Struct, frozen=True, kw_only=True):
    """From one state to another, over a word; without a word it costs nothing."""

    source: int
    target: int
    word: str | None = None
    weight: float = 1.0


class Grammar(Struct, frozen=True, kw_only=True):
    """Utterances from `START` to `END`. The same phrases in any order make an equal grammar with an equal name."""

    name: str
    states: int
    steps: tuple[Step, ...]

    def words(self) -> frozenset[str]:
        """Every word that may be said."""
        return frozenset(step.word for step in self.steps if step.word is not None)

    def accepts(self, said: Sequence[str]) -> bool:
        """Whether the words are a whole utterance, and not the beginning of one."""
        here = self._reached(frozenset({START}))
        for word in said:
            here = self._reached(frozenset(s.target for s in self.steps if s.source in here and s.word == word))
        return END in here

    def _reached(self, states: frozenset[int]) -> frozenset[int]:
        free = frozenset(s.target for s in self.steps if s.source in states and s.word is None)
        return states if free <= states else self._reached(states | free)


def grammar(phrases: Sequence[str]) -> Grammar:
    """The grammar of one phrase, perhaps after an *um*, perhaps with a *please*. Phrases without words are left out;
    raises `ValueError` when none remains.

    States are shared by phrases that begin alike and by those that may go on alike, so 300 phrases of *day and time*
    take 35; pocketsphinx needs a hundred times longer for the same phrases one beside the other (measured).

    `KEPT` of them are kept: one of 800 phrases takes 7 ms, and all calls of a lost worker ask for it at once.
    """
    return _grammar(tuple(phrases))


@lru_cache(maxsize=KEPT)
def _grammar(phrases: tuple[str, ...]) -> Grammar:
    listed = frozenset(words(phrase) for phrase in phrases) - {()}
    if not listed:
        raise ValueError("a grammar needs a phrase")
    states: dict[frozenset[Phrase], int] = {frozenset({()}): END}
    steps: list[Step] = []
    _lay(listed, states, steps)
    steps += [Step(source=START, target=START, word=opener, weight=_EXTRA_WEIGHT) for opener in OPENERS]
    count = len(states) + _lay_closers(len(states), steps)
    digest = hashlib.sha256("|".join(sorted(" ".join(phrase) for phrase in listed)).encode()).hexdigest()
    return Grammar(name=f"g{digest[:16]}", states=count, steps=tuple(steps))


def _lay(rests: frozenset[Phrase], states: dict[frozenset[Phrase], int], steps: list[Step]) -> int:
    """The state from which exactly ``rests`` can be said; laid when there is none yet. The first is `START`."""
    if rests in states:
        return states[rests]
    state = states[rests] = START if len(states) == 1 else len(states)
    is_whole = () in rests
    if is_whole:
        steps.append(Step(source=state, target=END))
    for word in sorted({rest[0] for rest in rests if rest}):
        following = frozenset(rest[1:] for rest in rests if rest and rest[0] == word)
        weight = _EXTRA_WEIGHT if is_whole else 1.0
        steps.append(Step(source=state, target=_lay(following, states, steps), word=word, weight=weight))
    return state


def _lay_closers(first_free: int, steps: list[Step]) -> int:
    """Loops at the end; returns how many states they took, numbered from ``first_free``."""
    taken = 0
    for closer in CLOSERS:
        *before, last = closer.split()
        here = END
        for word in before:
            steps.append(Step(source=here, target=first_free + taken, word=word, weight=_EXTRA_WEIGHT))
            here = first_free + taken
            taken += 1
        steps.append(Step(source=here, target=END, word=last, weight=_EXTRA_WEIGHT if here == END else 1.0))
    return taken
