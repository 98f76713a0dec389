"""Conferences: participants wait until one of those who start it has come, then hear each other until it ends.

Its customer is told of each coming and going, hold and mute, if whoever came first asked for that.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, Protocol

from turncall_phone.accounts import Account
from turncall_phone.calls import Call, Subscription
from turncall_phone.notices import Pairs, rfc2822
from turncall_phone.room import Room
from turncall_phone.sids import new_sid
from turncall_phone.ticker import Ticker

# Which word of a subscription covers which event.
EVENTS = {
    "conference-start": "start",
    "conference-end": "end",
    "participant-join": "join",
    "participant-leave": "leave",
    "participant-hold": "hold",
    "participant-unhold": "hold",
    "participant-mute": "mute",
    "participant-unmute": "mute",
}

type Told = Callable[[Call, Subscription, str, Pairs], None]
"""Sends a callback on behalf of a call: where to, which event, and what it says."""


class Clocked(Protocol):
    """Who knows the time."""

    def now(self) -> datetime:
        """Aware UTC wall time."""
        ...


class Participant:
    """One call in a conference, until it leaves."""

    def __init__(self, call: Call, *, starts: bool, ends: bool) -> None:
        self.call = call
        self.starts = starts
        self.ends = ends
        self.is_held = False
        self.is_muted = False
        self.is_kicked = False

    def params(self) -> Pairs:
        """How it stands, as callbacks say it."""
        flags = {
            "Muted": self.is_muted,
            "Hold": self.is_held,
            "Coaching": False,
            "EndConferenceOnExit": self.ends,
            "StartConferenceOnEnter": self.starts,
        }
        return (("CallSid", self.call.sid), *((name, str(holds).lower()) for name, holds in flags.items()))


class Conference:
    """One conference of an account, by name; over when its last participant leaves, or one who ends it."""

    def __init__(self, name: str, account: Account, ticker: Ticker, clock: Clocked, tell: Told) -> None:
        self.sid = new_sid("CF")
        self.name = name
        self.account = account
        self.room = Room(ticker)
        self.has_begun = False
        self.is_over = False
        self.created_at = clock.now()
        self._clock = clock
        self._tell = tell
        self._told: Subscription | None = None
        self._sequence = 0
        self._why_over: Pairs = ()
        self._participants: dict[str, Participant] = {}
        self._changed = asyncio.Event()

    @property
    def status(self) -> Literal["init", "in-progress", "completed"]:
        """The vendor's word for how it stands."""
        return "completed" if self.is_over else "in-progress" if self.has_begun else "init"

    def __iter__(self) -> Iterator[Participant]:
        return iter(tuple(self._participants.values()))

    def find(self, call_sid: str) -> Participant | None:
        """The participant whose call this is."""
        return self._participants.get(call_sid)

    def enter(self, call: Call, *, starts: bool, ends: bool, told: Subscription | None) -> Participant:
        """A call comes in; its coming may start the conference, and its going end it. The first one's ``told`` holds
        for all."""
        if self._told is None:
            self._told = told
        participant = self._participants[call.sid] = Participant(call, starts=starts, ends=ends)
        self._say("participant-join", call, participant.params())
        if not self.has_begun and any(one.starts for one in self):
            self.has_begun = True
            self._say("conference-start", call)
        self._stir()
        return participant

    def leave(self, participant: Participant) -> None:
        """A call goes."""
        call = participant.call
        self._participants.pop(call.sid, None)
        why = "participant_hung_up" if call.is_over else "participant_updated_via_api"
        if self.is_over and not call.is_over:
            why = "moderator_ended_conference"
        self._say("participant-leave", call, (*participant.params(), ("ReasonParticipantLeft", why)))
        if not self.is_over and (participant.ends or not self._participants):
            kind = "participant-with-end-conference-on-exit-left" if participant.ends else "last-participant-left"
            self.end((("ReasonConferenceEnded", kind), ("CallSidEndingConference", call.sid)))
        if not self._participants:
            self._say("conference-end", call, self._why_over)

    def end(self, why: Pairs) -> None:
        """Nobody hears anybody any more; the participants leave."""
        self.is_over = True
        self._why_over = why
        self._stir()

    def hold(self, participant: Participant, *, is_held: bool) -> None:
        """Has a participant hear music in place of the others, and be heard by none."""
        if participant.is_held != is_held:
            participant.is_held = is_held
            self._say("participant-hold" if is_held else "participant-unhold", participant.call, participant.params())
            self._stir()

    def mute(self, participant: Participant, *, is_muted: bool) -> None:
        """Has a participant be heard by none."""
        if participant.is_muted != is_muted:
            participant.is_muted = is_muted
            self._say("participant-mute" if is_muted else "participant-unmute", participant.call, participant.params())
            self._stir()

    def kick(self, participant: Participant) -> None:
        """Has a participant leave; its document goes on."""
        participant.is_kicked = True
        self._stir()

    def hears(self, participant: Participant) -> bool:
        """Whether a participant hears the others."""
        return self.has_begun and not participant.is_held

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns once that holds; looked at whenever something has changed here."""
        while not holds():
            await self._changed.wait()

    def _stir(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _say(self, event: str, call: Call, params: Pairs = ()) -> None:
        self._sequence += 1
        if self._told is None or EVENTS[event] not in self._told.events:
            return
        said = (
            ("ConferenceSid", self.sid),
            ("FriendlyName", self.name),
            ("AccountSid", self.account.sid),
            ("SequenceNumber", str(self._sequence)),
            ("Timestamp", rfc2822(self._clock.now())),
            ("StatusCallbackEvent", event),
        )
        self._tell(call, self._told, event, (*said, *params))


class Conferences:
    """The conferences of all accounts; of one name the newest alone is kept."""

    def __init__(self, ticker: Ticker, clock: Clocked, tell: Told) -> None:
        self._ticker = ticker
        self._clock = clock
        self._tell = tell
        self._by_name: dict[tuple[str, str], Conference] = {}

    def __iter__(self) -> Iterator[Conference]:
        return iter(tuple(self._by_name.values()))

    def named(self, account: Account, name: str) -> Conference:
        """The one of this name, a new one if there is none."""
        known = self._by_name.get((account.sid, name))
        if known is None or known.is_over:
            known = Conference(name, account, self._ticker, self._clock, self._tell)
            self._by_name[account.sid, name] = known
        return known

    def find(self, account: Account, sid_or_name: str) -> Conference | None:
        """The account's conference of this SID, or of this name."""
        mine = [one for one in self if one.account.sid == account.sid]
        return next((one for one in mine if sid_or_name in (one.sid, one.name)), None)
