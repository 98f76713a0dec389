"""How long a model may think before its first word: a request that is never answered would be silence for ever."""

import asyncio
from collections.abc import Callable
from typing import Final

FIRST_SIGN_WITHIN_S: Final = 8.0
"""Longer than any model that can hold a phone conversation takes to its first token, shorter than a caller waits."""


class Patience:
    """Calls ``lost`` when the model was asked and gave no sign within `FIRST_SIGN_WITHIN_S`."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._alarm: asyncio.TimerHandle | None = None

    def asked(self) -> None:
        """The model has a new request."""
        self.answered()
        self._alarm = asyncio.get_running_loop().call_later(FIRST_SIGN_WITHIN_S, self._lost)

    def answered(self) -> None:
        """The model gave a sign, failed, or is not waited for any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
