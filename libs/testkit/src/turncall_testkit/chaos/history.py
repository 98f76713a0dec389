"""What happened in a run: values only, so that the checker can be tried on histories that never happened."""

from datetime import datetime

from msgspec import Struct

from turncall.client.shapes import CallView, StoredFact
from turncall_phone.journal import Entry
from turncall_proto.events import Event
from turncall_proto.ids import CallId
from turncall_testkit.chaos.caller import Told


class Strike(Struct, frozen=True, kw_only=True):
    """A fault as it was brought about; ``positions_ms`` says where each live call's audio was at that instant."""

    name: str
    at: datetime
    positions_ms: dict[CallId, int]


class CallHistory(Struct, frozen=True, kw_only=True):
    """One call: what its caller met, what the carrier saw, what workers stated and what the API shows.

    ``stated`` are the facts in the workers' spools, ``stored`` those in Postgres. ``statuses`` are those the API showed
    while the run went on, without repeats. ``bookings`` are the appointments that the desk wrote down for it.
    """

    call_id: CallId
    told: Told
    carrier_status: str
    journal: tuple[Entry, ...]
    heard: bytes
    said: bytes
    heard_texts: tuple[str, ...]
    stated: tuple[Event, ...]
    view: CallView | None
    stored: tuple[StoredFact, ...]
    statuses: tuple[str, ...]
    bookings: tuple[tuple[str, str], ...]
    recording_ms: int | None = None


class History(Struct, frozen=True, kw_only=True):
    """A run of one scenario.

    ``stray_bookings`` belong to no call's tool; ``contradictions`` are numbers that two workers gave to different
    facts; ``leaks`` are the places in logs that hold a secret or a phone number, without what they hold.
    """

    scenario: str
    seed: int
    strikes: tuple[Strike, ...]
    calls: tuple[CallHistory, ...]
    stray_bookings: tuple[str, ...]
    contradictions: tuple[str, ...]
    leaks: tuple[str, ...]
