"""Commands to a live call: put to the worker that holds it, done once for each request, and answered truthfully."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turncall_control.calls.commanding import ANSWER_WITHIN_S
from turncall_proto import subjects
from turncall_proto.codec import decode_command, encode
from turncall_proto.command import CommandReply, Inject, Mute, PauseRecording, ResumeRecording, Say, SendDtmf, Unmute
from turncall_proto.ids import CallId

DONE = CommandReply(outcome="done")


@asynccontextmanager
async def held(desk: Any, call_id: CallId, reply: CommandReply = DONE) -> AsyncIterator[list[Any]]:
    """A worker that holds the call and answers so; the commands that it got."""
    heard: list[Any] = []

    async def obey(data: bytes) -> bytes:
        heard.append(decode_command(data))
        return encode(reply)

    serving = await desk.bus.serve(subjects.command(call_id), obey)
    try:
        yield heard
    finally:
        await serving.close()


async def tell(desk: Any, call_id: CallId, verb: str, body: Any = None, **headers: str) -> Any:
    return await desk.http.post(f"/v1/calls/{call_id}/{verb}", json=body, headers=desk.bearer | headers)


async def test_every_command_reaches_the_worker(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """With its fields, a deadline and an id, which is in the answer."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    began = datetime.now(UTC)
    async with held(desk, call_id) as heard:
        answers = [
            await tell(desk, call_id, "say", {"text": "Hello."}),
            await tell(desk, call_id, "inject", {"text": "It rains.", "role": "user", "is_answered": True}),
            await tell(desk, call_id, "mute"),
            await tell(desk, call_id, "unmute"),
            await tell(desk, call_id, "recording/pause"),
            await tell(desk, call_id, "recording/resume"),
            await tell(desk, call_id, "dtmf", {"digits": "1w#"}),
        ]
    assert [answer.status_code for answer in answers] == [200] * 7
    assert [answer.json()["command_id"] for answer in answers] == [command.command_id for command in heard]
    assert [type(command) for command in heard] == [
        Say,
        Inject,
        Mute,
        Unmute,
        PauseRecording,
        ResumeRecording,
        SendDtmf,
    ]
    said, injected, *_, pressed = heard
    assert (said.text, pressed.digits) == ("Hello.", "1w#")
    assert (injected.text, injected.role, injected.is_answered) == ("It rains.", "user", True)
    latest = datetime.now(UTC) + timedelta(seconds=ANSWER_WITHIN_S)
    assert all(began < command.deadline <= latest for command in heard)


async def test_an_idempotency_key_is_one_command(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """A request whose answer was lost asks again under the id of the first, so that the worker does it once."""
    await desk.rings(sid)
    await worker.opens(worker.offers[-1].plan)
    key = {"Idempotency-Key": "once"}
    await desk.becomes(call_id, status="in_progress")
    async with held(desk, call_id, CommandReply(outcome="late")) as heard:
        late = await tell(desk, call_id, "say", {"text": "Hello."}, **key)
    assert (late.status_code, late.json()["type"].rsplit(":", 1)[-1]) == (504, "worker-silent")
    async with held(desk, call_id) as heard_again:
        answers = [await tell(desk, call_id, "say", {"text": "Hello."}, **key) for _ in range(2)]
        other = await tell(desk, call_id, "say", {"text": "Goodbye."}, **key)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [command.command_id for command in heard_again] == [heard[0].command_id]
    assert other.status_code == 409


async def test_what_keeps_a_command_from_being_done_is_said(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """409 for a call that rings or is over and for a worker that refuses, 504 when nobody answers, 422 for nonsense."""

    async def problem(verb: str = "mute", body: Any = None) -> tuple[int, str]:
        answer = await tell(desk, call_id, verb, body)
        return answer.status_code, answer.json()["type"].rsplit(":", 1)[-1]

    await desk.rings(sid)
    assert await problem() == (409, "call-not-live")
    assert await problem("dtmf", {"digits": "12x"}) == (422, "invalid")
    assert await problem("say", {"text": ""}) == (422, "invalid")
    await worker.opens(worker.offers[-1].plan)
    await desk.becomes(call_id, status="in_progress")
    assert await problem() == (504, "worker-silent")
    async with held(desk, call_id, CommandReply(outcome="refused", detail="the agent cannot go on")):
        answer = await tell(desk, call_id, "say", {"text": "Hello."})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the agent cannot go on")
    await desk.says(sid, "completed", CallDuration="1")
    await desk.becomes(call_id, status="completed")
    assert await problem() == (409, "call-over")


@pytest.mark.parametrize("verb", ["say", "inject", "mute", "unmute", "dtmf"])
async def test_another_project_cannot_reach_the_call(
    desk: Any, worker: Any, sid: str, call_id: CallId, verb: str
) -> None:
    """It is a 404, and the worker hears nothing."""
    await desk.rings(sid)
    body = {"say": {"text": "x"}, "inject": {"text": "x"}, "dtmf": {"digits": "1"}}.get(verb)
    stranger = await desk.another_project()
    async with held(desk, call_id) as heard:
        answer = await desk.http.post(f"/v1/calls/{call_id}/{verb}", json=body, headers=stranger)
    assert (answer.status_code, heard) == (404, [])
