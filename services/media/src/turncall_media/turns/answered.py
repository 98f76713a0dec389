"""Who has answered a call of ours: a person, a machine, or an assistant who asks first. Pure: times are given, in s.

A person says a word or two and waits. A machine speaks on, says what machines say, or beeps. The length of speech alone
makes nobody a machine before `LONG_S`, and somebody who speaks up between a greeting and its beep is a person.
"""

from enum import StrEnum
from typing import Final, Literal

from turncall_media.turns.greetings import holds, machines, plain, screeners
from turncall_proto.agent import Voicemail

SILENT_S: Final = 2.5
"""Who says nothing for so long waits for us to speak."""
SHORT_S: Final = 2.5
"""A person's greeting is shorter."""
PAUSE_S: Final = 0.8
"""After a short greeting, so much silence waits for us to speak."""
LONG_PAUSE_S: Final = 1.5
"""The same after a longer one, which may have been that of a machine that takes a breath."""
LONG_S: Final = 7.0
"""Nobody speaks for so long at a stretch who has just picked up."""
GAP_S: Final = 0.6
"""Shorter silences belong to the speech around them."""
SCREENED_S: Final = 30.0
"""How long an assistant who knows why we call may take to ask whether somebody wants to talk to us."""
ENDED_S: Final = 3.0
"""Silence after which a greeting without a beep is over."""

Clue = Literal["carrier", "words", "beep", "length"]


class Party(StrEnum):
    """Who is there. An assistant is there until it was told why we call."""

    UNKNOWN = "unknown"
    PERSON = "person"
    MACHINE = "machine"
    ASSISTANT = "assistant"


class Judge:
    """Takes what is heard since the answer, and says who is there. ``answered_s`` is when the audio began."""

    def __init__(self, settings: Voicemail, language: str, answered_s: float) -> None:
        self._machines = machines(language, settings.phrases)
        self._screeners = screeners(language)
        self._waits_for_beep_s = settings.beep_within_s
        self._since_s = answered_s
        self._patience_s = SILENT_S
        self._began_s: float | None = None  # of the speech that goes on, or went on last
        self._ended_s: float | None = None  # None while somebody speaks
        self._pause_before_s = 0.0
        self._words = ""  # of that speech
        self._machine_s: float | None = None
        self._has_beeped = False
        self.party = Party.UNKNOWN
        self.clue: Clue = "words"

    def told(self, answered_by: str, now_s: float) -> None:
        """Takes what the carrier heard before us, in its words: ``human``, ``machine_start``, ``machine_end_beep``…"""
        if answered_by == "human":
            self.party = Party.PERSON
        elif answered_by.startswith("machine"):
            self._is_machine("carrier", now_s)
            self._has_beeped = answered_by.startswith("machine_end")

    def voice_began(self, at_s: float) -> None:
        """Somebody began to speak."""
        silent_s = at_s - (self._since_s if self._ended_s is None else self._ended_s)
        if self._began_s is None or silent_s >= GAP_S:
            self._began_s, self._words, self._pause_before_s = at_s, "", silent_s
        self._ended_s = None

    def voice_ended(self, at_s: float) -> None:
        """Nobody speaks any more."""
        self._ended_s = at_s

    def said(self, text: str, now_s: float) -> None:
        """Words were understood; they may come after the voice has ended."""
        self._words = f"{self._words} {plain(text)}".strip()
        if holds(self._words, self._screeners) and self.party is not Party.MACHINE:
            self.party = Party.ASSISTANT
        elif holds(self._words, self._machines):
            self._is_machine("words", now_s)

    def beeped(self, now_s: float) -> None:
        """A beep has ended."""
        self._has_beeped = True
        self._is_machine("beep", now_s)

    def screened(self, now_s: float) -> None:
        """The assistant was told why we call."""
        self.party, self._words, self._began_s, self._ended_s = Party.UNKNOWN, "", None, None
        self._since_s, self._patience_s = now_s, SCREENED_S

    def look(self, now_s: float) -> Party:
        """Who is there by now, also by what was not heard."""
        if self._began_s is None:
            if self.party is Party.UNKNOWN and now_s - self._since_s >= self._patience_s:
                self.party = Party.PERSON
        elif self._ended_s is None:
            if self.party is Party.UNKNOWN and now_s - self._began_s >= LONG_S:
                self._is_machine("length", now_s)
        elif self._spoke_like_a_person(now_s, self._began_s, self._ended_s):
            self.party = Party.PERSON
        return self.party

    def may_speak(self, now_s: float) -> bool:
        """Whether a machine records by now: it has beeped, has fallen silent, or was waited for long enough."""
        is_silent = self._ended_s is not None and now_s - self._ended_s >= ENDED_S
        is_late = self._machine_s is not None and now_s - self._machine_s >= self._waits_for_beep_s
        return self._has_beeped or is_silent or is_late

    def _spoke_like_a_person(self, now_s: float, began_s: float, ended_s: float) -> bool:
        is_short, silent_s = ended_s - began_s < SHORT_S, now_s - ended_s
        if self.party is Party.MACHINE:
            # Picked up while the greeting was played: a word or two, after the machine had stopped.
            is_apart = self._pause_before_s >= 1.0 and bool(self._words) and not holds(self._words, self._machines)
            return is_short and is_apart and silent_s >= PAUSE_S and not self._has_beeped
        return self.party is Party.UNKNOWN and silent_s >= (PAUSE_S if is_short else LONG_PAUSE_S)

    def _is_machine(self, clue: Clue, now_s: float) -> None:
        if self.party is not Party.MACHINE:
            self.party, self.clue, self._machine_s = Party.MACHINE, clue, now_s
