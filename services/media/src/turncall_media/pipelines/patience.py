"""What a model owes: a first sign within some time, or its request would be silence for ever; and then an answer."""

import asyncio
from collections.abc import Callable
from typing import Final

from turncall_media.answers import NoAnswer

FIRST_SIGN_WITHIN_S: Final = 8.0
"""Longer than any model that can hold a phone conversation takes to its first token, shorter than a caller waits."""


class Patience:
    """Calls ``lost`` with what is wrong when the model was asked and gave no sign within `FIRST_SIGN_WITHIN_S`, or
    ended its answer without having said or done anything."""

    def __init__(self, lost: Callable[[Exception], None]) -> None:
        self._lost = lost
        self._alarm: asyncio.TimerHandle | None = None
        self._is_empty = False

    def asked(self) -> None:
        """The model has a new request."""
        self.calmed()
        late = TimeoutError(f"no sign of the model within {FIRST_SIGN_WITHIN_S:g} s")
        self._alarm = asyncio.get_running_loop().call_later(FIRST_SIGN_WITHIN_S, self._lost, late)

    def began(self) -> None:
        """The model's answer begins; a function's result may ask for the next one before this one is over."""
        self._is_empty = True

    def calmed(self) -> None:
        """The model gave a sign, or is not waited for any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def answered(self) -> None:
        """The model said or did something, or failed, which is told already."""
        self.calmed()
        self._is_empty = False

    def ended(self) -> None:
        """The model's answer is complete."""
        self.calmed()
        if self._is_empty:
            self._is_empty = False
            self._lost(NoAnswer("the model's answer is empty"))
