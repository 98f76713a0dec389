"""What happened in a run: values only, so that the checker can be tried on histories that never happened."""

from datetime import datetime

from msgspec import Struct

from turncall.client.shapes import CallView, StoredFact
from turncall_phone.journal import Entry
from turncall_proto.events import Event
from turncall_proto.ids import CallId, ProjectId
from turncall_testkit.chaos.caller import Told


class Strike(Struct, frozen=True, kw_only=True):
    """A fault as it was brought about; ``positions_ms`` says where each live call's audio was at that instant."""

    name: str
    at: datetime
    positions_ms: dict[CallId, int]


class Notice(Struct, frozen=True, kw_only=True):
    """A webhook that a project's server got, in the order of arrival; ``is_taken``: it was answered with a success."""

    project_id: ProjectId
    id: str
    type: str
    call_seq: int
    is_taken: bool


class CallHistory(Struct, frozen=True, kw_only=True):
    """One call: what its caller met, what the carrier saw, what workers stated and what the API shows.

    ``stated`` are the facts in the workers' spools, ``stored`` those in Postgres. ``statuses`` are those the API showed
    while the run went on, without repeats. ``bookings`` are the appointments that the desk wrote down for it.
    ``project_id`` is whose number was dialled, ``shown_to`` whose key read the call or found it in a list, ``notices``
    what anybody's server was sent about it.
    """

    call_id: CallId
    project_id: ProjectId
    shown_to: tuple[ProjectId, ...] = ()
    notices: tuple[Notice, ...] = ()
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
    facts; ``leaks`` are the places in logs that hold a secret or a phone number, without what they hold. ``forgeries``
    are webhooks that were not signed with the secret of the subscription that they came to.
    """

    scenario: str
    seed: int
    strikes: tuple[Strike, ...]
    calls: tuple[CallHistory, ...]
    stray_bookings: tuple[str, ...]
    contradictions: tuple[str, ...]
    leaks: tuple[str, ...]
    forgeries: tuple[str, ...] = ()
