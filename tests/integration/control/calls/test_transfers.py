"""Whom a caller may be connected to: by the agent's tool, by the project, one at a time; and what is stored of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from turncall_control.calls.transfers import is_allowed
from turncall_control.settings import ProjectSettings, TransferPolicy
from turncall_proto import subjects
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, Transfer, TransferAsked, TransferOrder
from turncall_proto.ids import CallId

from .test_commands import held

PERSON = "+15550170001"
PERSONS = "Calls"
"""The SID of the leg to the person."""


async def wishes(desk: Any, plan: Any, *, act: str = "1", tool: str = "", **order: Any) -> ActReply:
    """The worker of ``plan`` asks for the caller to be connected."""
    asked = TransferAsked(
        act_id=f"{plan.call_id}.{act}",
        call_id=plan.call_id,
        project_id=plan.project_id,
        epoch=plan.epoch,
        order=TransferOrder(to=PERSON, **order),
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


class OnHold:
    """A caller who is on hold for a person who is rung with the SID ``Calls``."""

    def __init__(self, desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
        self.desk, self.sid, self.call_id = desk, sid, call_id
        self._worker = worker
        self.transfer = UUID(int=0)

    async def begin(self, **order: str) -> None:
        """The agent lets the caller go; the carrier takes them off the stream and is asked to ring the person."""
        desk = self.desk
        await desk.rings(self.sid)
        plan = self._worker.offers[-1].plan
        await self._worker.opens(plan)
        assert (await wishes(desk, plan, mode="warm", briefing="A caller.", **order)).is_taken
        ((self.transfer,),) = await desk.rows("select id from transfers where act_id = %s", f"{plan.call_id}.1")
        assert "<Conference" in await self.asks("transfer", self.sid)
        await self.comes_to(operator_call=PERSONS)

    async def asks(self, what: str, sid: str, **form: str) -> str:
        """What Twilio gets that asks, or tells, about the transfer."""
        path = f"/webhooks/twilio/voice/{what}/{self.transfer.hex}"
        answer = await self.desk.twilio_asks(path, self.desk.form(sid, **{"CallStatus": "in-progress", **form}))
        assert answer.status_code == 200
        return str(answer.text)

    async def tells(self, event: str, sid: str, number: int) -> None:
        """A statement about the room."""
        said = {"ConferenceSid": "CF1", "StatusCallbackEvent": event, "SequenceNumber": str(number)}
        await self.asks("conference", sid, **said)

    async def facts(self, *tags: str) -> list[Any]:
        """The data of the call's facts of these types, in order."""
        answer = await self.desk.get(f"/v1/calls/{self.call_id}/events", params={"internal": True, "limit": 200})
        return [event["data"] for event in answer.json()["items"] if event["type"] in tags]

    async def comes_to(self, **columns: Any) -> None:
        """Returns once the transfer's row says so."""

        async def holds() -> bool:
            query = f"select {', '.join(columns)} from transfers where id = %s"
            return bool(await self.desk.rows(query, self.transfer) == [tuple(columns.values())])

        await self.desk.comes_true(holds)

    async def becomes_due(self, **columns: str) -> None:
        """Time passes in which nothing was heard of the person."""
        changed = "".join(f", {name} = '{value}'" for name, value in columns.items())
        await self.desk.execute(f"update transfers set due_at = now(){changed} where id = %s", self.transfer)
        self.desk.plane.transfers_due.set()

    async def comes_back(self, outcome: str) -> None:
        """The carrier is sent to bring the caller back, and it is said why."""
        await self.desk.comes_true(lambda: any("/resume/" in url for url in self.desk.rest.redirected(self.sid)))
        assert [fact["outcome"] for fact in await self.facts("transfer.failed")] == [outcome]
        assert await self.facts("call.transferred") == []


@pytest_asyncio.fixture(loop_scope="session")
async def on_hold(desk: Any, worker: Any, sid: str, call_id: CallId) -> AsyncIterator[OnHold]:
    """A caller to be put on hold; they hang up at the end."""
    yield OnHold(desk, worker, sid, call_id)
    await desk.says(sid, "completed", CallDuration="1")


async def test_joined_is_who_is_in_the_room(on_hold: OnHold) -> None:
    """Every question may come again; taking the call is not yet the connection, and each change is stated once."""
    await on_hold.begin(accept_key="1")
    for _ in range(2):
        assert "<Gather" in await on_hold.asks("operator", PERSONS)
    assert "no longer there" in await on_hold.asks("operator", "CA-of-somebody-else")
    for _ in range(2):
        assert "<Conference" in await on_hold.asks("accept", PERSONS, Digits="1")
    assert "<Conference" in await on_hold.asks("operator", PERSONS)
    assert await on_hold.facts("call.transferred") == []
    changes = [(on_hold.sid, "participant-join"), (PERSONS, "participant-join"), ("CA-other", "participant-join")]
    changes += [(on_hold.sid, "participant-hold"), (on_hold.sid, "participant-unhold"), (PERSONS, "participant-mute")]
    changes += [(PERSONS, "participant-unmute"), ("CA-other", "participant-leave")]
    for number, (who, event) in enumerate(changes):
        for _ in range(2):
            await on_hold.tells(event, who, number)
    assert [(fact["party"], fact["change"]) for fact in await on_hold.facts("participant.changed")] == [
        ("caller", "joined"),
        ("person", "joined"),
        ("other", "joined"),
        ("caller", "held"),
        ("caller", "unheld"),
        ("person", "muted"),
        ("person", "unmuted"),
        ("other", "left"),
    ]
    assert len(await on_hold.facts("transfer.answered", "call.transferred")) == 2
    await on_hold.asks("operator-status", PERSONS, CallStatus="completed")
    assert await on_hold.facts("transfer.failed") == []


async def test_a_person_who_goes_before_the_connection_leaves_the_caller_to_the_agent(on_hold: OnHold) -> None:
    """Though they had taken the call."""
    await on_hold.begin()
    assert "<Conference" in await on_hold.asks("operator", PERSONS, AnsweredBy="human")
    await on_hold.asks("operator-status", PERSONS, CallStatus="completed")
    await on_hold.comes_back("declined")


@pytest.mark.parametrize(
    ("heard_before", "answered", "outcome"),
    [
        ({"operator_call": ""}, [], "failed"),
        ({}, [(200, {"status": "completed"})], "declined"),
        ({}, [(404, {"code": 20404})], "failed"),
    ],
)
async def test_what_was_not_heard_of_the_person_is_asked_for(
    on_hold: OnHold, heard_before: dict[str, str], answered: list[Any], outcome: str
) -> None:
    """A replica that died while it had them rung, and statements that came while nobody listened, strand no caller."""
    await on_hold.begin()
    on_hold.desk.rest.answers[:] = answered
    await on_hold.becomes_due(**heard_before)
    await on_hold.comes_back(outcome)


async def test_nobody_is_rung_for_a_caller_who_has_gone(on_hold: OnHold) -> None:
    """The leg to the person is ended, and who picks up at that moment is told."""
    await on_hold.begin(accept_key="1")
    await on_hold.asks("transferred", on_hold.sid, CallStatus="completed")
    await on_hold.desk.comes_true(lambda: on_hold.desk.rest.ended(PERSONS))
    await on_hold.desk.becomes(on_hold.call_id, status="completed")
    assert "no longer there" in await on_hold.asks("operator", PERSONS)
    await on_hold.asks("operator-status", PERSONS, CallStatus="completed")
    assert await on_hold.facts("transfer.answered", "transfer.failed", "call.transferred") == []


async def test_a_machine_and_silence_bring_the_caller_back(on_hold: OnHold) -> None:
    """Who presses nothing was not there."""
    await on_hold.begin(accept_key="1")
    await on_hold.asks("operator", PERSONS)
    await on_hold.asks("accept", PERSONS)
    await on_hold.comes_back("no_answer")
