"""The table of events is complete and is what the README shows."""

from pathlib import Path

from turncall_control.webhooks.occurrences import (
    APART,
    OCCURRENCES,
    SESSION_OCCURRENCES,
    apart_table,
    sessions_table,
    table,
)
from turncall_control.webhooks.schemas import SUBSCRIBABLE
from turncall_control.webhooks.sender import TEST
from turncall_control.webhooks.sessions import SESSION_EVENTS
from turncall_proto.events import PUBLIC_TAGS

README = Path(__file__).parents[4] / "services" / "control" / "README.md"


def test_every_public_event_is_in_the_table() -> None:
    """Who adds a public fact says on which channels and in which states it comes: in webhooks/occurrences.py."""
    assert OCCURRENCES.keys() == PUBLIC_TAGS
    assert SESSION_OCCURRENCES.keys() == SESSION_EVENTS.keys()
    shown = OCCURRENCES.keys() | SESSION_OCCURRENCES.keys() | APART.keys()
    assert shown == {*SUBSCRIBABLE, TEST}, "whatever can be subscribed to is in one of the three"


def test_readme_shows_the_table() -> None:
    """The tables are printed by `python -m turncall_control event-table`."""
    assert table() in README.read_text()
    assert sessions_table() in README.read_text()
    assert apart_table() in README.read_text()
