"""Another agent goes on with a call: planned once, for agents of the project alone, and for good."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from turncall_control.calls.handoffs import MOST
from turncall_proto import ids, subjects
from turncall_proto.call import Handoff
from turncall_proto.codec import decode, encode
from turncall_proto.command import CommandReply, HandOff, HandoffAsked, HandoffReply
from turncall_proto.events import CallHandoff
from turncall_proto.ids import AgentId, CallId

from .conftest import AGENT
from .test_commands import held


async def wishes(desk: Any, plan: Any, agent_id: str, **changes: Any) -> HandoffReply:
    """The worker of ``plan`` asks for the plan with which another agent goes on."""
    asked = HandoffAsked(
        act_id=f"{plan.call_id}.{plan.epoch}.handoff",
        call_id=plan.call_id,
        project_id=plan.project_id,
        epoch=plan.epoch,
        worker=plan.offered_to,
        agent_id=AgentId(agent_id),
        reason="An invoice.",
        deadline=datetime.now(UTC) + timedelta(seconds=5),
    )
    answer = await desk.bus.ask(subjects.act("handoff"), encode(replace(asked, **changes)), timeout_s=2)
    return decode(answer, HandoffReply)


async def another_agent(
    desk: Any, first_message: str, *, is_published: bool = True, language: str = ""
) -> tuple[str, str]:
    """An agent of the project and its version."""
    config = msgspec.to_builtins(replace(AGENT, first_message=first_message, language=language))
    made = await desk.http.post("/v1/agents", json={"name": uuid4().hex, "config": config}, headers=desk.bearer)
    assert made.status_code == 201, made.text
    if is_published:
        published = await desk.http.post(f"/v1/agents/{made.json()['id']}/publish", headers=desk.bearer)
        assert published.status_code == 200, published.text
    ((version,),) = await desk.rows(
        "select id from agent_versions where agent_id = %s", ids.parsed(ids.AGENT, made.json()["id"])
    )
    return made.json()["id"], ids.written(ids.VERSION, version)


async def test_the_next_epoch_is_the_other_agents(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Same worker, whole plan, version visible; a repeat gets it again, and a lost stream leads back to that agent."""
    billing, version = await another_agent(desk, "Billing.")
    await desk.rings(sid)
    first = worker.offers[-1].plan
    await worker.opens(first)
    reply = await wishes(desk, first, billing)
    assert reply.plan is not None, reply.detail
    plan = reply.plan
    assert (plan.epoch, plan.agent_id, plan.version_id, plan.offered_to) == (2, billing, version, first.offered_to)
    assert (plan.agent.first_message, plan.called_at) == ("Billing.", first.called_at)
    assert plan.handoff == Handoff(from_epoch=1, from_agent_id=desk.agent_id, reason="An invoice.")
    again = await wishes(desk, first, billing)
    assert again.plan is not None
    assert (again.plan.epoch, again.plan.version_id) == (2, version)
    other = await wishes(desk, first, billing, act_id="another")
    assert (other.plan, "has left epoch 1" in other.detail) == (None, True)
    shown = await desk.call(call_id)
    assert (shown["agent_id"], shown["version_id"]) == (billing, version)

    await worker.opens(plan)
    handed = CallHandoff(
        call_id=call_id,
        project_id=plan.project_id,
        epoch=2,
        seq=3,
        at=datetime.now(UTC),
        from_epoch=1,
        from_agent_id=desk.agent_id,
        to_agent_id=AgentId(billing),
        to_version_id=plan.version_id,
    )
    await worker.publish(handed)
    await desk.becomes(call_id, status="handed_off")
    # The carrier knows the stream by the epoch that it was opened for.
    asked = f"/webhooks/twilio/voice/resume/{call_id}/1"
    await desk.twilio_asks(asked, desk.form(sid, CallStatus="in-progress"))
    resumed = worker.offers[-1].plan
    assert (resumed.epoch, resumed.agent_id, resumed.handoff) == (3, billing, plan.handoff)
    assert resumed.resume.from_epoch == 2


async def test_whom_a_call_cannot_be_given_to(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """Agents of others, agents without a published version, and nobody at all once it went round too often."""
    draft, _ = await another_agent(desk, "Draft.", is_published=False)
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    for agent_id in (draft, "agt_" + "0" * 32):
        reply = await wishes(desk, plan, agent_id)
        assert (reply.plan, "no such agent" in reply.detail) == (None, True)
    foreign = await wishes(desk, plan, desk.agent_id, project_id="prj_" + "0" * 32)
    assert foreign.plan is None
    late = await wishes(desk, plan, desk.agent_id, deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert (late.plan, late.detail) == (None, "late")
    for _ in range(MOST):
        reply = await wishes(desk, plan, desk.agent_id)
        assert reply.plan is not None, reply.detail
        plan = reply.plan
    assert (await wishes(desk, plan, desk.agent_id)).plan is None
    await desk.says(sid, "completed", CallDuration="1")


async def test_the_api_has_the_worker_give_the_call_away(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """The command names the agent and the reason; a malformed agent is a 422."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    async with held(desk, call_id, CommandReply(outcome="done")) as heard:
        body = {"agent_id": desk.agent_id, "reason": "By hand."}
        answer = await desk.http.post(f"/v1/calls/{call_id}/handoff", json=body, headers=desk.bearer)
        refused = await desk.http.post(f"/v1/calls/{call_id}/handoff", json={"agent_id": "x"}, headers=desk.bearer)
    assert (answer.status_code, refused.status_code) == (200, 422)
    assert [(type(command), command.agent_id, command.reason) for command in heard] == [
        (HandOff, desk.agent_id, "By hand.")
    ]
