"""Bodies: decoded strictly, refused with the path of the field."""

from typing import Annotated

import msgspec
import pytest

from turncall_control.errors import Invalid, Malformed
from turncall_control.http.body import MAX_BODY_BYTES, MAX_DEPTH, decoded


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A nested part."""

    size: Annotated[int, msgspec.Meta(ge=1)]
    labels: list[str] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    inner: Inner
    parts: list[Inner] = []
    by_name: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"5", ""),
        (b"{}", "inner"),
        (b'{"inner": {"size": 0}}', "inner.size"),
        (b'{"inner": {"size": "1"}}', "inner.size"),
        (b'{"inner": {"size": 1.5}}', "inner.size"),
        (b'{"inner": {"size": true}}', "inner.size"),
        (b'{"inner": {}}', "inner.size"),
        (b'{"inner": {"size": 1, "x": 1}}', "inner.x"),
        (b'{"inner": {"size": 1}, "parts": [{"size": 1}, {"size": "x"}]}', "parts[1].size"),
        (b'{"inner": {"size": 1}, "parts": [5]}', "parts[0]"),
        (b'{"inner": {"size": 1, "labels": ["a", 1]}}', "inner.labels[1]"),
        (b'{"inner": {"size": 1}, "by_name": {"k": {"size": 0}}}', "by_name[...].size"),
        (b'{"inner": {"size": 1, "labels": ["a\\u0000"]}}', "inner.labels[0]"),
    ],
)
def test_fault_is_named_by_its_path(body, field):
    """The path leads from the top of the body to the field, through lists by index."""
    with pytest.raises(Invalid) as refused:
        decoded(body, Outer)
    assert [fault.field for fault in refused.value.faults] == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"nope", b'"\xff"', b"{'a': 1}", b"\x00", b"NaN"])
def test_what_is_not_json_is_malformed(body):
    """Torn, misquoted and undecodable bodies cannot be read at all."""
    with pytest.raises(Malformed):
        decoded(body, object)


def test_written_nul_is_told_from_a_written_backslash():
    """The six characters of an escaped NUL are refused; a backslash before u0000 is only text."""
    kind = dict[str, str]
    assert decoded(b'{"a": "\\\\u0000"}', kind) == {"a": "\\u0000"}
    with pytest.raises(Invalid):
        decoded(b'{"a": "\\u0000"}', kind)


def test_depth_is_counted_outside_strings():
    """Brackets inside text do not count; one level too many does."""
    kind = object
    decoded(b'"' + b"[" * 1000 + b'"', kind)
    decoded(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, kind)
    decoded(b'["\\"[[[", ' * 30 + b"1" + b"]" * 30, kind)
    with pytest.raises(Malformed, match="deep"):
        decoded(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), kind)


@pytest.mark.parametrize(
    "unit", [b'"', b'\\"', b'"\\', b"[", b"[]", b'"[', b"\\", b'"\\\n'], ids=lambda unit: repr(unit)
)
def test_hostile_body_of_full_size_is_read_in_linear_time(unit):
    """No repetition of quotes, escapes and brackets makes the depth count scan anything twice (it would take hours)."""
    body = b"[[" * MAX_DEPTH + unit * (MAX_BODY_BYTES // len(unit))
    with pytest.raises(Malformed):
        decoded(body, object)
    body = b'"' + unit * (MAX_BODY_BYTES // len(unit))
    with pytest.raises((Malformed, Invalid)):
        decoded(body + b"[" * (MAX_DEPTH + 1), Outer)
