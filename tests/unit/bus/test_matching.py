"""Subject filters, by the rules of NATS."""

import pytest

from turncall_bus.matching import matches
from turncall_proto import subjects
from turncall_proto.ids import CallId, ProjectId


@pytest.mark.parametrize(
    ("pattern", "subject", "is_match"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
    ],
)
def test_wildcards(pattern: str, subject: str, is_match: bool) -> None:
    """A star is one token, a last > is one or more."""
    assert matches(pattern, subject) is is_match


def test_a_call_s_filter_covers_its_leaves_and_no_other_call() -> None:
    """The story of a call is its plans, claims and facts."""
    project, call, other = ProjectId("prj_1"), CallId("call_1"), CallId("call_11")
    story = subjects.call_story(project, call)

    assert all(matches(story, subjects.call(project, call, leaf)) for leaf in ("start", "claim", "event"))
    assert not matches(story, subjects.call(project, other, "event"))
    assert matches(subjects.ALL_CALL_EVENTS, subjects.call(project, call, "event"))
    assert not matches(subjects.ALL_CALL_EVENTS, subjects.call(project, call, "start"))
