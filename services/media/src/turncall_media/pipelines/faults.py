"""How often a vendor may fail before the call gives up on it: each stage has one vendor, so nobody steps in."""

from collections import Counter
from typing import Final, Literal

from turncall_media.report.events import Stage

Verdict = Literal["bear", "retry", "excuse", "give_up"]
IN_A_ROW: Final[dict[Stage, int]] = {"stt": 3, "llm": 2, "tts": 3, "speech": 2}
"""Failures without a success between them. A model's failure leaves the caller without a reply, so it gets one retry;
speech services reconnect by themselves and lose some words."""
NO_ANSWERS_IN_A_ROW: Final = 3
"""Of a model that works and has nothing to say. The second time the caller is asked to say it again."""


class Faults:
    """The failures of one call's vendors."""

    def __init__(self) -> None:
        self._in_a_row: Counter[Stage] = Counter()
        self._replying: set[Stage] = set()

    def failed(self, stage: Stage, *, is_usable: bool, is_no_answer: bool = False) -> Verdict:
        """What to do about a failure. ``is_usable``: the vendor may work again, with the same key and options.

        ``is_no_answer``: the model worked, but answered with nothing.
        """
        self._replying.discard(stage)
        self._in_a_row[stage] += 1
        if is_no_answer and self._in_a_row[stage] == NO_ANSWERS_IN_A_ROW - 1:
            return "excuse"
        if not is_usable or self._in_a_row[stage] >= IN_A_ROW[stage]:
            return "give_up"
        return "retry" if stage in ("llm", "speech") else "bear"

    def worked(self, stage: Stage) -> None:
        """The vendor did its work."""
        del self._in_a_row[stage]

    def began(self, stage: Stage) -> None:
        """A model says or does something. That counts when it comes to an end: one that breaks off in every reply
        would have the caller hear the same half for ever."""
        self._replying.add(stage)

    def broke(self, stage: Stage) -> None:
        """The reply will not be whole."""
        self._replying.discard(stage)

    def ended(self, stage: Stage) -> None:
        """The reply is whole, or nobody wants the rest of it."""
        if stage in self._replying:
            self._replying.discard(stage)
            self.worked(stage)
