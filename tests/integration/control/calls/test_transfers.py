"""Whom a caller may be connected to: by the agent's tool, by the project, one at a time; and what is stored of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turncall_control.calls.transfers import is_allowed
from turncall_control.settings import ProjectSettings, TransferPolicy
from turncall_proto import subjects
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, Transfer, TransferAsked, TransferOrder
from turncall_proto.ids import CallId

from .test_commands import held

PERSON = "+15550170001"


async def wishes(desk: Any, plan: Any, *, act: str = "1", tool: str = "") -> ActReply:
    """The worker of ``plan`` asks for the caller to be connected."""
    asked = TransferAsked(
        act_id=f"{plan.call_id}.{act}",
        call_id=plan.call_id,
        project_id=plan.project_id,
        epoch=plan.epoch,
        order=TransferOrder(to=PERSON),
        tool=tool,
        deadline=datetime.now(UTC) + timedelta(seconds=5),
    )
    return decode(await desk.bus.ask(subjects.act("transfer"), encode(asked), timeout_s=2), ActReply)


async def test_one_transfer_at_a_time_and_each_once(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A tool that does not name the person is refused, a repeat answered alike, the carrier sent for the caller."""
    await desk.rings(sid)
    plan = worker.offers[-1].plan
    await worker.opens(plan)
    refused = await wishes(desk, plan, tool="transfer_call")
    assert (refused.is_taken, "does not name" in refused.detail) == (False, True)
    assert (await wishes(desk, plan)).is_taken
    assert (await wishes(desk, plan)).is_taken
    second = await wishes(desk, plan, act="2")
    assert (second.is_taken, "left epoch 1" in second.detail) == (False, True)
    await desk.comes_true(lambda: any("/transfer/" in url for url in desk.rest.redirected(sid)))
    await desk.says(sid, "completed", CallDuration="1")


@pytest.mark.proves("settings.transfers.allowed_destinations")
async def test_a_project_names_whom_callers_may_be_connected_to(
    desk: Any, worker: Any, sid: str, call_id: CallId
) -> None:
    """Whole or by a beginning; the API refuses others, and the order reaches the worker as it was given."""
    settings = ProjectSettings(transfers=TransferPolicy(allowed_destinations=("+1555*", "sip:desk@example.com")))
    assert is_allowed(settings, PERSON)
    assert is_allowed(settings, "sip:desk@example.com")
    assert not is_allowed(settings, "+449")
    assert not is_allowed(settings, "sip:desk@example.com.evil")
    assert is_allowed(ProjectSettings(), "+449")
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    async with held(desk, call_id) as heard:
        body = {"to": PERSON, "mode": "warm", "briefing": "A caller.", "accept_key": "1", "message": "One moment."}
        answer = await desk.http.post(f"/v1/calls/{call_id}/transfer", json=body, headers=desk.bearer)
        nonsense = await desk.http.post(f"/v1/calls/{call_id}/transfer", json={"to": "home"}, headers=desk.bearer)
    assert (answer.status_code, nonsense.status_code) == (200, 422)
    (command,) = heard
    assert isinstance(command, Transfer)
    assert (command.order.to, command.order.mode, command.message) == (PERSON, "warm", "One moment.")
    await desk.says(sid, "completed", CallDuration="1")
