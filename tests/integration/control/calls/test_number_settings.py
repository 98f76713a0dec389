"""What a number's settings make of its calls: who answers, and what callers get whom nobody can serve."""

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from psycopg.types.json import Jsonb

from turncall_control.routing import Variant, variant_for
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import AgentId, CallId, VersionId

OPERATOR = "+15550188888"
FORWARDED = "/webhooks/twilio/voice/forwarded"


@pytest_asyncio.fixture(loop_scope="session")
async def other_agent(desk: Any) -> AgentId:
    """A second published agent of the project."""
    agent, version = AgentId(ids.mint(ids.AGENT)), VersionId(ids.mint(ids.VERSION))
    await desk.execute(
        "insert into agents (id, project_id, name, environment) values (%s, %s, %s, 'production')",
        ids.parsed(ids.AGENT, agent),
        ids.parsed(ids.PROJECT, desk.project_id),
        f"Other {uuid4()}",
    )
    await desk.execute(
        "insert into agent_versions (id, project_id, agent_id, number, state, config, published_at)"
        " select %s, project_id, %s, 1, 'published', config, now() from agent_versions where id = %s",
        ids.parsed(ids.VERSION, version),
        ids.parsed(ids.AGENT, agent),
        ids.parsed(ids.VERSION, desk.version_id),
    )
    return agent


@pytest_asyncio.fixture(loop_scope="session")
async def settle(desk: Any) -> AsyncIterator[Any]:
    """Changes the settings of the desk's number by the API; they are put back afterwards."""
    number = ids.parsed(ids.NUMBER, desk.number_id)
    ((before,),) = await desk.rows("select settings from numbers where id = %s", number)

    async def change(**settings: Any) -> dict[str, Any]:
        answer = await desk.http.patch(f"/v1/numbers/{desk.number_id}", json=settings, headers=desk.bearer)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    yield change
    await desk.execute("update numbers set settings = %s where id = %s", Jsonb(before), number)


def verbs(answer: Any) -> list[str]:
    """The verbs of a document."""
    return [verb.tag for verb in ET.fromstring(answer.text)]


async def routed(desk: Any, call_id: CallId) -> dict[str, Any]:
    """The decision as the call's event log has it."""
    items = (await desk.get(f"/v1/calls/{call_id}/events", params={"internal": True})).json()["items"]
    data: dict[str, Any] = next(item["data"] for item in items if item["type"] == "call.routed")
    return data


async def unpublish(desk: Any, agent_id: AgentId) -> None:
    """Leaves an agent without a published version, until the fixture of the desk's agent puts it back."""
    await desk.execute(
        "update agent_versions set state = 'archived' where agent_id = %s", ids.parsed(ids.AGENT, agent_id)
    )


@pytest_asyncio.fixture(loop_scope="session")
async def unpublished(desk: Any) -> AsyncIterator[None]:
    """The desk's agent has no published version for a while."""
    await unpublish(desk, desk.agent_id)
    yield
    await desk.execute(
        "update agent_versions set state = 'published' where agent_id = %s", ids.parsed(ids.AGENT, desk.agent_id)
    )


async def judged(desk: Any, calls: list[str], verdicts: list[bool]) -> None:
    """What analyses found: one verdict for each call, or several for one call, the last of which counts."""
    whole = calls * len(verdicts) if len(calls) == 1 else calls
    for number, (call_id, is_success) in enumerate(zip(whole, verdicts, strict=True), 9000):
        await desk.execute(
            "insert into call_events (call_id, epoch, seq, project_id, call_seq, type, at, payload)"
            " select id, 0, %s, project_id, %s, 'analysis.completed', now(),"
            " jsonb_build_object('findings', jsonb_build_object('is_success', %s::boolean)) from calls where id = %s",
            number,
            number,
            is_success,
            ids.parsed(ids.CALL, call_id),
        )


async def test_weighted_callers_are_stamped_with_their_variant(
    desk: Any, worker: Any, settle: Any, other_agent: AgentId
) -> None:
    """Each caller gets the agent that the hash of the number says, call after call; the list finds calls by variant."""
    written = [
        {"name": "warm", "agent_id": desk.agent_id, "weight": 50},
        {"name": "brisk", "agent_id": other_agent, "weight": 50},
    ]
    await settle(routing={"kind": "weighted", "variants": written})
    variants = tuple(msgspec.convert(variant, Variant) for variant in written)
    seen: dict[str, list[str]] = {"warm": [], "brisk": []}
    for caller in [f"+1555777{number:04d}" for number in range(6)] * 2:
        sid = "CA" + uuid4().hex
        call_id = ids.inbound_call_id("twilio", "AC" + "a" * 32, sid)
        assert verbs(await desk.rings(sid, From=caller)) == ["Connect"]
        shown, wanted = await desk.call(call_id), variant_for(variants, caller, call_id)
        assert (shown["variant"], shown["agent_id"]) == (wanted.name, wanted.agent_id)
        assert worker.offers[-1].plan.agent_id == wanted.agent_id
        assert (await routed(desk, call_id))["variant"] == wanted.name
        seen[wanted.name].append(call_id)
    assert all(seen.values()), "six callers fell to both"
    # Publishing again begins another entry of the same variant.
    path = f"/v1/agents/{other_agent}"
    ((stored,),) = await desk.rows(
        "select config from agent_versions where agent_id = %s", ids.parsed(ids.AGENT, other_agent)
    )
    await desk.http.put(f"{path}/draft", json={"config": {**stored, "prompt": "Be brisk."}}, headers=desk.bearer)
    assert (await desk.http.post(f"{path}/publish", headers=desk.bearer)).status_code == 200
    sid = "CA" + uuid4().hex
    callers = (f"+1555778{number:04d}" for number in range(99))
    caller = next(one for one in callers if variant_for(variants, one, CallId(sid)).name == "brisk")
    await desk.rings(sid, From=caller)
    seen["brisk"].append(ids.inbound_call_id("twilio", "AC" + "a" * 32, sid))
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    await desk.becomes(seen["brisk"][-1], status="in_progress")
    await desk.says(sid, "completed", CallDuration="4")
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.becomes(seen["brisk"][-1], ended_reason="customer_ended_call")
    told = (await desk.get(f"/v1/numbers/{desk.number_id}/variants")).json()["items"]
    assert [(item["variant"], item["version_number"]) for item in told] == [("brisk", 1), ("brisk", 2), ("warm", 1)]
    assert sum(item["calls"] for item in told if item["variant"] == "warm") == len(seen["warm"])
    newest = told[1]
    assert (newest["calls"], newest["answered"], newest["ended"]) == (1, 1, {"customer_ended_call": 1})
    assert newest["mean_duration_ms"] >= 0
    assert told[0]["mean_duration_ms"] is None
    await judged(desk, seen["brisk"], [True] * len(seen["brisk"]))
    await judged(desk, seen["warm"][:1], [False, True, False])  # read anew, and then once more
    found = (await desk.get(f"/v1/numbers/{desk.number_id}/experiment", params={"baseline": "warm"})).json()
    brisk, warm = found["variants"]
    assert (brisk["variant"], brisk["calls"], brisk["share"]["rate"]) == ("brisk", len(seen["brisk"]), 1.0)
    assert (warm["share"]["count"], warm["share"]["of"], warm["calls"]) == (0, 1, len(seen["warm"]))
    assert (brisk["above"]["rate"], warm["above"]) == (1.0, None)
    answered = (
        await desk.get(f"/v1/numbers/{desk.number_id}/experiment", params={"outcome": "ended_by_agent"})
    ).json()["variants"]
    assert [(one["share"]["count"], one["share"]["of"]) for one in answered] == [(0, 1), (0, 0)]
    refused = await desk.get(f"/v1/numbers/{desk.number_id}/experiment", params={"baseline": "cold"})
    assert refused.status_code == 422
    for variant, calls in seen.items():
        query = {"variant": variant, "number_id": desk.number_id}
        assert {item["id"] for item in (await desk.get("/v1/calls", params=query)).json()["items"]} == set(calls)


async def test_the_fallback_agent_answers_for_one_that_cannot(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId, other_agent: AgentId, unpublished: None
) -> None:
    """Without a published version of its agent a number is answered by the fallback agent, and the call says why."""
    await settle(fallback={"agent_id": other_agent})
    assert verbs(await desk.rings(sid)) == ["Connect"]
    assert (await desk.call(call_id))["agent_id"] == other_agent
    decision = await routed(desk, call_id)
    assert decision["is_fallback"] is True
    assert decision["why"] == "the agent has no published version"


async def test_an_archived_agent_never_answers(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId, other_agent: AgentId
) -> None:
    """The fallback agent answers from the next call on; a live call goes on, and no number can name it anew."""
    await settle(routing={"kind": "agent", "agent_id": other_agent}, fallback={"agent_id": desk.agent_id})
    live = "CA" + uuid4().hex
    await desk.rings(live)
    await worker.opens(worker.offers[-1].plan)
    earlier = worker.offers[-1].plan
    await desk.comes(earlier.call_id, "call.started")
    archived = await desk.http.post(f"/v1/agents/{other_agent}/archive", headers=desk.bearer)
    assert archived.status_code == 200
    assert verbs(await desk.rings(sid)) == ["Connect"]
    assert (await desk.call(call_id))["agent_id"] == desk.agent_id
    assert (await routed(desk, call_id))["why"] == "the agent has no published version"
    form = desk.form(live, CallStatus="in-progress")
    assert verbs(await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{earlier.call_id}/1", form)) == ["Connect"]
    assert worker.offers[-1].plan.agent_id == other_agent
    answer = await desk.http.patch(
        f"/v1/numbers/{desk.number_id}",
        json={"routing": {"kind": "agent", "agent_id": other_agent}},
        headers=desk.bearer,
    )
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "routing.agent_id", "message": "The agent is archived"}]


async def test_a_number_with_voice_off_rejects_calls(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId
) -> None:
    """The call is never answered, no worker is asked, and whatever the carrier calls it, it was rejected."""
    await settle(channels={"voice": False})
    answer = await desk.rings(sid)
    (reject,) = ET.fromstring(answer.text)
    assert (reject.tag, reject.get("reason")) == ("Reject", "rejected")
    assert (await desk.rings(sid)).content == answer.content
    await desk.says(sid, "no-answer")
    await desk.becomes(call_id, status="no_answer", ended_reason="rejected")
    assert worker.offers == []


async def test_a_number_that_rejects_when_busy_gives_the_busy_tone(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId
) -> None:
    """Without a free worker the caller hears the busy tone at once; the call is busy for want of capacity."""
    worker.answer = "full"
    await settle(busy={"kind": "reject"})
    (reject,) = ET.fromstring((await desk.rings(sid)).text)
    assert (reject.tag, reject.get("reason")) == ("Reject", "busy")
    await desk.says(sid, "busy")
    await desk.becomes(call_id, status="busy", ended_reason="no_capacity")


async def test_callers_wait_as_their_number_says(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId
) -> None:
    """The message is the number's, the wait as long as it says, and the last words are its own."""
    worker.answer = "full"
    await settle(
        busy={"kind": "hold", "message": "One moment.", "wait_s": 40}, fallback={"sentence": "Call the other office."}
    )
    answer = await desk.rings(sid)
    assert verbs(answer) == ["Say", "Pause", "Redirect"]
    assert ET.fromstring(answer.text)[0].text == "One moment."
    await desk.execute("update calls set created_at = now() - interval '38 s' where id = %s", _uuid(call_id))
    assert verbs(await desk.rings(sid)) == ["Pause", "Redirect"]
    await desk.execute("update calls set created_at = now() - interval '40 s' where id = %s", _uuid(call_id))
    answer = await desk.rings(sid)
    assert verbs(answer) == ["Say", "Hangup"]
    assert ET.fromstring(answer.text)[0].text == "Call the other office."


async def test_a_number_that_forwards_when_busy_rings_a_person(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId
) -> None:
    """Without a free worker the fallback phone is rung at once; a connected call ends as forwarded."""
    worker.answer = "full"
    await settle(busy={"kind": "forward"}, fallback={"number": OPERATOR})
    answer = await desk.rings(sid)
    (dial,) = ET.fromstring(answer.text)
    assert (dial.tag, dial.get("callerId"), dial.get("answerOnBridge")) == ("Dial", "+15550001111", "true")
    assert dial.get("action") == f"https://voice.example.com{FORWARDED}/{call_id}"
    assert [noun.text for noun in dial] == [OPERATOR]
    assert (await desk.rings(sid)).content == answer.content

    over = await desk.twilio_asks(f"{FORWARDED}/{call_id}", _dialled(desk, sid, "completed", DialCallDuration="31"))
    assert verbs(over) == ["Hangup"]
    await desk.says(sid, "completed", CallDuration="33")
    await desk.becomes(call_id, status="completed", ended_reason="forwarded")
    assert [tag for tag in await desk.types(call_id) if tag.startswith("forward.")] == [
        "forward.begun",
        "forward.ended",
    ]


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
async def test_nobody_at_the_fallback_phone_is_said_honestly(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId, outcome: str
) -> None:
    """The caller hears the last words, and the call ends for want of capacity; a repeat gets the same answer."""
    worker.answer = "full"
    await settle(busy={"kind": "forward"}, fallback={"number": OPERATOR, "sentence": "Nobody is here."})
    assert verbs(await desk.rings(sid, From="anonymous")) == ["Dial"]
    form = _dialled(desk, sid, outcome)
    answers = [await desk.twilio_asks(f"{FORWARDED}/{call_id}", form) for _ in range(2)]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert ET.fromstring(answers[0].text)[0].text == "Nobody is here."
    await desk.says(sid, "completed", CallDuration="12")
    await desk.becomes(call_id, status="completed", ended_reason="no_capacity")
    assert (await desk.types(call_id)).count("forward.ended") == 1


async def test_a_withheld_caller_is_not_shown_to_the_fallback_phone(
    desk: Any, worker: Any, settle: Any, sid: str
) -> None:
    """A number is needed as caller id: the called one takes the place of one that is withheld."""
    worker.answer = "full"
    await settle(busy={"kind": "forward"}, fallback={"number": OPERATOR})
    (dial,) = ET.fromstring((await desk.rings(sid, From="Restricted")).text)
    assert dial.get("callerId") == desk.number


async def test_a_caller_without_any_agent_reaches_a_person(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId, unpublished: None
) -> None:
    """When neither the agent nor a fallback agent can answer, the fallback phone is rung."""
    await settle(fallback={"number": OPERATOR})
    assert verbs(await desk.rings(sid)) == ["Dial"]
    await desk.twilio_asks(f"{FORWARDED}/{call_id}", _dialled(desk, sid, "busy"))
    await desk.says(sid, "completed", CallDuration="5")
    await desk.becomes(call_id, status="completed", ended_reason="rejected")


async def test_forwarding_needs_a_number(desk: Any, settle: Any) -> None:
    """A policy that could not be carried out is refused by name."""
    answer = await desk.http.patch(
        f"/v1/numbers/{desk.number_id}", json={"busy": {"kind": "forward"}}, headers=desk.bearer
    )
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["fallback.number"]


async def test_ending_a_forwarded_call_is_why_it_ended(
    desk: Any, worker: Any, settle: Any, sid: str, call_id: CallId
) -> None:
    """While the caller talks to a person the call can be ended by the API, and says so."""
    worker.answer = "full"
    await settle(busy={"kind": "forward"}, fallback={"number": OPERATOR})
    await desk.rings(sid)
    answer = await desk.http.post(f"/v1/calls/{call_id}/end", headers=desk.bearer, timeout=10)
    assert answer.json() == {"taken_by": "carrier"}
    await desk.comes_true(lambda: desk.rest.ended(sid))
    await desk.says(sid, "completed", CallDuration="3")
    await desk.becomes(call_id, ended_reason="api_ended_call")


def _dialled(desk: Any, sid: str, outcome: str, **changes: str) -> list[tuple[str, str]]:
    """What Twilio sends when a dialled leg is over."""
    form: list[tuple[str, str]] = desk.form(
        sid, CallStatus="in-progress", DialCallStatus=outcome, DialCallSid="CA" + "d" * 32, **changes
    )
    return form


def _uuid(call_id: CallId) -> Any:
    return ids.parsed(ids.CALL, call_id)
