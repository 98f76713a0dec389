"""What a number does with its calls: who falls to which variant, and what is known of it without a database."""

from collections import Counter

import msgspec
import pytest
from msgspec.structs import replace

from turncall_control import routing
from turncall_control.calls import deciding
from turncall_control.routing import (
    AgentTarget,
    BoundNumber,
    Fallback,
    Published,
    Routing,
    Settings,
    Told,
    Variant,
    WebhookTarget,
    WeightedTarget,
    variant_for,
)
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, VendorRef
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId

AGENT = AgentSpec(pipeline=Cascade(stt=VendorRef(vendor="a"), llm=VendorRef(vendor="a"), tts=VendorRef(vendor="a")))
ONE, TWO = AgentId("agt_" + "1" * 32), AgentId("agt_" + "2" * 32)
FIRST, SECOND = VersionId("ver_1"), VersionId("ver_2")
CALL = CallId("call_" + "0" * 32)
VARIANTS = (Variant(name="warm", agent_id=ONE, weight=30), Variant(name="brisk", agent_id=TWO, weight=70))


def number(agent_id: AgentId = ONE) -> BoundNumber:
    """A number that one agent answers."""
    return BoundNumber(
        project_id=ProjectId("prj_1"),
        number_id=NumberId("num_1"),
        settings=Settings(routing=AgentTarget(agent_id=agent_id)),
    )


def test_a_number_is_known_with_its_agent() -> None:
    """An agent without its definition is not enough to answer a call."""
    known = Routing()
    known.know({("twilio", "+1"): number()}, {ONE: FIRST})
    assert known.recall("twilio", "+1") == number()
    assert known.recall("other", "+1") is None
    assert known.recall_agent(ONE) is None
    assert set(known.unknown_agents()) == {FIRST}
    known.learn_version(FIRST, AGENT)
    assert known.recall_agent(ONE) == (Published(agent_id=ONE, version_id=FIRST), AGENT)
    assert not known.unknown_agents()


def test_a_number_that_was_unbound_is_forgotten() -> None:
    """What the newest look at all numbers does not show is not answered, and its agent is let go."""
    known = Routing()
    known.know({("twilio", "+1"): number(ONE), ("twilio", "+2"): number(TWO)}, {ONE: FIRST, TWO: SECOND})
    known.learn_version(FIRST, AGENT)
    known.learn_version(SECOND, AGENT)
    known.know({("twilio", "+2"): number(TWO)}, {TWO: SECOND})
    assert known.recall("twilio", "+1") is None
    assert known.recall_agent(ONE) is None
    assert known.recall_agent(TWO) is not None
    known.know({("twilio", "+1"): number(ONE)}, {ONE: FIRST})
    assert set(known.unknown_agents()) == {FIRST}


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that was used least lately makes room for a new one."""
    monkeypatch.setattr(routing, "KNOWN_AT_MOST", 2)
    known = Routing()
    for e164 in ("+1", "+2", "+1", "+3"):
        known.used("twilio", e164, number())
    assert [known.recall("twilio", e164) is not None for e164 in ("+1", "+2", "+3")] == [True, False, True]


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


def test_callers_fall_to_the_variants_by_their_weights() -> None:
    """Of many callers each variant gets its share, within what chance allows."""
    fallen = Counter(variant_for(VARIANTS, f"+1555{caller:07d}", CALL).name for caller in range(4000))
    assert fallen["warm"] / 4000 == pytest.approx(0.3, abs=0.03)
    assert fallen["brisk"] / 4000 == pytest.approx(0.7, abs=0.03)


def test_the_same_caller_falls_to_the_same_variant() -> None:
    """By the first eight bytes of the number's SHA-256, modulo 100: a fixed caller has a fixed place."""
    # sha256sum: 7a8e1bad42416f9a… is 70 modulo 100, f8c9015df063afdc… is 12.
    for caller, name in (("+15550001111", "brisk"), ("+15550002222", "warm")):
        assert {variant_for(VARIANTS, caller, CallId(ids.mint(ids.CALL))).name for _ in range(20)} == {name}


@pytest.mark.parametrize("hidden", ["anonymous", "Restricted", "", "+", "sip:someone@example.com"])
def test_callers_without_a_number_are_spread_by_their_call(hidden: str) -> None:
    """A withheld number does not put everybody in one bucket; one call stays where it fell."""
    calls = [CallId(ids.mint(ids.CALL)) for _ in range(200)]
    fallen = [variant_for(VARIANTS, hidden, call).name for call in calls]
    assert set(fallen) == {"warm", "brisk"}
    assert fallen == [variant_for(VARIANTS, hidden, call).name for call in calls]


@pytest.mark.parametrize(
    ("variants", "complaint"),
    [
        ([("a", ONE, 50)], "length >= 2"),
        ([("a", ONE, 50), ("b", TWO, 49)], "sum up to 100"),
        ([("a", ONE, 50), ("a", TWO, 50)], "name of its own"),
        ([("a", ONE, 50), ("b", ONE, 50)], "agent_id of its own"),
        ([("a", ONE, 0), ("b", TWO, 100)], "`int` >= 1"),
        ([("A!", ONE, 50), ("b", TWO, 50)], "matching regex"),
    ],
)
def test_weights_that_do_not_divide_the_callers_are_refused(
    variants: list[tuple[str, AgentId, int]], complaint: str
) -> None:
    """Two to ten variants, each with its own name and agent, whose weights sum up to 100."""
    written = [{"name": name, "agent_id": agent, "weight": weight} for name, agent, weight in variants]
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert({"variants": written, "kind": "weighted"}, WeightedTarget)


def test_without_a_database_a_number_of_a_projects_server_falls_back() -> None:
    """The server is not asked, because its answer could not be kept; the fallback agent answers, if it is known."""
    known = Routing()
    target = WebhookTarget(url="https://example.com/who")
    bare = replace(number(), settings=Settings(routing=target))
    assert deciding.recall(known, bare, "+1", CALL) is None
    known.know({}, {TWO: SECOND})
    known.learn_version(SECOND, AGENT)
    backed = replace(number(), settings=Settings(routing=target, fallback=Fallback(agent_id=TWO)))
    routed, agent = deciding.recall(known, backed, "+1", CALL) or pytest.fail("nobody answers")
    assert (routed.kind, routed.agent_id, routed.is_fallback, agent) == ("webhook", TWO, True, AGENT)
    assert routed.why == deciding.NOT_ASKED
