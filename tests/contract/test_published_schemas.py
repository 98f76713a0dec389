"""The documents in ``schema/`` say what the code says."""

import pytest

from turncall_proto import publish


@pytest.mark.parametrize("name", sorted(publish.documents()))
def test_published_document_is_current(name: str) -> None:
    """`make schema` was run after the contract changed."""
    assert (publish.SCHEMA_FOLDER / name).read_text() == publish.documents()[name]


def test_every_fact_is_on_the_facts_channel() -> None:
    """A fact that AsyncAPI does not list could not be reviewed."""
    listed = set(publish.asyncapi()["channels"]["facts"]["messages"])
    assert listed == {kind.__name__ for kind in publish.event_kinds()}


def test_personal_fields_are_marked() -> None:
    """Speech and numbers carry the mark that logs and traces look for."""
    defs = publish.events_schema()["$defs"]
    assert defs["TranscriptFinal"]["properties"]["text"]["x-personal"] is True
    assert defs["CallInitializing"]["properties"]["from_number"]["x-personal"] is True
