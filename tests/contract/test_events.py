"""The facts on the wire: what was written yesterday is read today, and what is written tomorrow is kept.

``golden/{tag}.json`` holds every field of a fact; ``golden/{tag}.least.json`` what it held before it got its optional
ones. A changed golden file is a changed contract: fields may be added to the first kind, nothing else.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT

from turncall_proto.codec import MalformedMessage, UnknownEvent, decode_event, encode
from turncall_proto.events import INTERNAL_TAGS, CallEvent, Event, TranscriptFinal

GOLDEN = Path(__file__).parent / "golden"
KINDS: dict[str, type[CallEvent]] = {str(kind.__struct_config__.tag): kind for kind in Event.__args__}
LEAST = sorted(path.name.removesuffix(".least.json") for path in GOLDEN.glob("*.least.json"))


def golden(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_bytes())
    return read


def written(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def test_every_fact_has_its_golden_files() -> None:
    """A new tag comes with its example, and no example outlives its tag."""
    found = {path.name.removesuffix(".json") for path in GOLDEN.iterdir()}
    with_defaults = {
        tag for tag, kind in KINDS.items() if any(not field.required for field in msgspec.structs.fields(kind))
    }
    assert found == KINDS.keys() | {f"{tag}.least" for tag in with_defaults}


@pytest.mark.parametrize("tag", sorted(KINDS))
def test_a_fact_is_read_and_written_field_for_field(tag: str) -> None:
    """No field is renamed, retyped or dropped, and the example shows all of them."""
    event = decode_event(written(golden(tag)))

    assert type(event) is KINDS[tag]
    assert json.loads(encode(event)) == golden(tag)


@pytest.mark.parametrize("tag", LEAST)
def test_a_fact_of_an_older_release_is_read(tag: str) -> None:
    """Optional fields that an older author did not know take their defaults."""
    event = decode_event(written(golden(f"{tag}.least")))

    assert type(event) is KINDS[tag]
    for field in msgspec.structs.fields(KINDS[tag]):
        if not field.required:
            default = field.default if field.default_factory is NODEFAULT else field.default_factory()
            assert getattr(event, field.name) == default


@pytest.mark.parametrize("tag", sorted(KINDS))
def test_a_field_of_a_newer_release_is_ignored(tag: str) -> None:
    """A newer author may say more; what this release knows is read all the same."""
    message = golden(tag)

    assert decode_event(written(message | {"said_since": {"release": 9}})) == decode_event(written(message))


@pytest.mark.parametrize("tag", sorted(KINDS))
def test_a_fact_without_a_required_field_is_malformed(tag: str) -> None:
    """Each required field is missed by name."""
    for field in msgspec.structs.fields(KINDS[tag]):
        if field.required:
            message = golden(tag)
            del message[field.encode_name]
            with pytest.raises(MalformedMessage, match=f"{tag}: .*{field.encode_name}|event: .*{field.encode_name}"):
                decode_event(written(message))


def test_a_fact_with_a_strange_tag_is_kept_as_it_came() -> None:
    """A tag of a newer release is not an error: the header is read and the bytes are kept."""
    data = written(golden("call.ringing") | {"type": "sentiment.measured", "score": 0.4})
    event = decode_event(data)

    assert isinstance(event, UnknownEvent)
    assert (event.tag, event.epoch, event.seq) == ("sentiment.measured", 0, 2)
    assert event.call_id == golden("call.ringing")["call_id"]
    assert event.project_id == golden("call.ringing")["project_id"]
    assert event.raw == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"type":"sentiment.measured"}',
        b'{"type":7}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_fact_is_malformed(data: bytes) -> None:
    """Bytes without the header of a fact are refused with one kind of error."""
    with pytest.raises(MalformedMessage):
        decode_event(data)


@pytest.mark.parametrize(
    ("tag", "field", "value"),
    [
        ("call.ringing", "epoch", -1),
        ("call.ringing", "epoch", "1"),
        ("call.ringing", "seq", 0),
        ("call.ringing", "seq", 1.5),
        ("call.ringing", "at", "yesterday"),
        ("call.ended", "state", "asleep"),
        ("call.ended", "reason", "because"),
        ("call.ended", "duration_ms", -1),
        ("call.initializing", "channel", "fax"),
        ("call.initializing", "from_number", "+1" * 40),
        ("dtmf.received", "digit", "12"),
        ("dtmf.received", "digit", "x"),
        ("transcript.final", "speaker", "nobody"),
        ("transcript.final", "is_interrupted", "yes"),
        ("recording.ready", "parts", [{"key": "a"}]),
    ],
)
def test_a_value_out_of_its_range_is_malformed(tag: str, field: str, value: object) -> None:
    """The error names the path of the field."""
    with pytest.raises(MalformedMessage, match=rf"\$\.{field}"):
        decode_event(written(golden(tag) | {field: value}))


def test_a_naive_time_is_refused() -> None:
    """A time without its zone would be read differently on every machine."""
    for tag in ("call.ringing", "of.a.newer.release"):
        with pytest.raises(MalformedMessage):
            decode_event(written(golden("call.ringing") | {"type": tag, "at": "2026-11-22T09:30:00"}))


def test_internal_tags_exist() -> None:
    """A tag that is kept from webhooks must be one that is stated."""
    assert KINDS.keys() >= INTERNAL_TAGS


def test_a_fact_cannot_be_changed() -> None:
    """Facts are frozen: what was stated stays stated."""
    event = decode_event(written(golden("transcript.final")))
    assert isinstance(event, TranscriptFinal)
    with pytest.raises(AttributeError):
        event.text = "something else"  # type: ignore[misc]
