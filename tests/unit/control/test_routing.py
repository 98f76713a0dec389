"""The last known answer to what answers a number."""

import pytest

from turncall_control import routing
from turncall_control.routing import Route, Routing, Told
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId

AGENT = AgentSpec(pipeline=Cascade(stt=VendorRef(vendor="a"), llm=VendorRef(vendor="a"), tts=VendorRef(vendor="a")))


def route(version: str = "ver_1") -> Route:
    """A route to a version."""
    return Route(
        project_id=ProjectId("prj_1"),
        number_id=NumberId("num_1"),
        agent_id=AgentId("agt_1"),
        version_id=VersionId(version),
    )


def test_a_number_is_known_with_its_agent() -> None:
    """A route without the agent's definition is not enough to answer a call."""
    known = Routing()
    known.used("twilio", "+1", route())
    assert known.recall("twilio", "+1") is None
    assert set(known.unknown_agents()) == {"ver_1"}
    known.learn(VersionId("ver_1"), AGENT)
    assert known.recall("twilio", "+1") == (route(), AGENT)
    assert known.recall("other", "+1") is None
    assert not known.unknown_agents()


def test_a_number_that_was_unbound_is_forgotten() -> None:
    """What the newest look at all routes does not show is not answered, and its agent is let go."""
    known = Routing()
    known.know({("twilio", "+1"): route("ver_1"), ("twilio", "+2"): route("ver_2")})
    known.learn(VersionId("ver_1"), AGENT)
    known.learn(VersionId("ver_2"), AGENT)
    known.know({("twilio", "+2"): route("ver_2")})
    assert known.recall("twilio", "+1") is None
    assert known.recall("twilio", "+2") == (route("ver_2"), AGENT)
    known.know({("twilio", "+1"): route("ver_1")})
    assert set(known.unknown_agents()) == {"ver_1"}


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that was used least lately makes room for a new one."""
    monkeypatch.setattr(routing, "KNOWN_AT_MOST", 2)
    known = Routing()
    known.learn(VersionId("ver_1"), AGENT)
    for number in ("+1", "+2", "+1", "+3"):
        known.used("twilio", number, route())
    assert [known.recall("twilio", number) is not None for number in ("+1", "+2", "+3")] == [True, False, True]


def test_an_answer_is_remembered_for_as_long_as_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat finds what was told; a minute later, or behind too many others, there is nothing to find."""
    now_s = 100.0
    monkeypatch.setattr(routing.time, "monotonic", lambda: now_s)
    monkeypatch.setattr(routing, "TOLD_AT_MOST", 2)
    told, calls = Told(), [CallId(f"call_{number}") for number in range(3)]
    told.about(calls[0]).document = "<Response/>"
    assert told.recall(calls[0]) == "<Response/>"
    assert told.about(calls[0]).document == "<Response/>"
    now_s += 61
    assert told.recall(calls[0]) is None
    assert told.about(calls[0]).document is None
    told.about(calls[0]).document = "<Response/>"
    for call_id in calls[1:]:
        assert told.about(call_id).document is None
    assert told.recall(calls[0]) is None
