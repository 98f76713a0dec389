"""Conferences: participants wait until one of those who start it has come, then hear each other until it ends."""

import asyncio

from turncall_phone.calls import Call
from turncall_phone.room import Room
from turncall_phone.sids import new_sid
from turncall_phone.ticker import Ticker


class Conference:
    """One conference of an account, by name; over when its last participant leaves, or one who ends it."""

    def __init__(self, name: str, ticker: Ticker) -> None:
        self.sid = new_sid("CF")
        self.name = name
        self.room = Room(ticker)
        self.has_begun = asyncio.Event()
        self.is_over = asyncio.Event()
        self._calls: dict[str, bool] = {}

    def enter(self, call: Call, *, starts: bool, ends: bool) -> None:
        """A call comes in; its coming may start the conference, and its going end it."""
        self._calls[call.sid] = ends
        if starts:
            self.has_begun.set()

    def leave(self, call: Call) -> None:
        """A call goes."""
        ends = self._calls.pop(call.sid, False)
        if ends or not self._calls:
            self.is_over.set()


class Conferences:
    """The conferences that are not over, by account and name."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._by_name: dict[tuple[str, str], Conference] = {}

    def named(self, account_sid: str, name: str) -> Conference:
        """The one of this name, a new one if there is none."""
        known = self._by_name.get((account_sid, name))
        if known is None or known.is_over.is_set():
            known = self._by_name[account_sid, name] = Conference(name, self._ticker)
        return known
