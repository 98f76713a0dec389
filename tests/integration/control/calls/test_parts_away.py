"""Calls that ring while Postgres or NATS is away."""

import asyncio
import time
import xml.etree.ElementTree as ET
from typing import Any

from turncall_devstack import DevStack
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId


def verbs(answer: Any) -> list[str]:
    """The verbs of a document."""
    assert answer.status_code == 200
    return [verb.tag for verb in ET.fromstring(answer.text)]


async def test_calls_ring_while_postgres_is_away(
    private_stack: DevStack, open_desk: Any, open_worker: Any, rest_face: Any, sid: str
) -> None:
    """A known number is answered, an unknown one is refused, and users hear 503 with Retry-After.

    When Postgres is back the call has its row with every fact of both planes, once, and goes on; a call whose socket
    was lost meanwhile was held and is resumed.
    """
    call_id = ids.inbound_call_id("twilio", "AC" + "a" * 32, sid)
    async with open_desk(rest_face, own=private_stack) as desk, open_worker(desk) as worker:
        await desk.execute("""update projects set settings = '{"default_language": "de"}'""")
        await desk.rings("CA" + "1" * 32)
        earlier = worker.offers[-1].plan
        await worker.opens(earlier)
        await desk.comes(earlier.call_id, "call.started")
        await desk.rings("CA" + "3" * 32)
        said_goodbye = worker.offers[-1].plan
        await worker.opens(said_goodbye)
        await desk.comes(said_goodbye.call_id, "call.started")
        assert desk.plane.routing.recall("twilio", desk.number), "a number that was called is known at once"

        await private_stack.postgres.kill()
        answer, *repeats = await asyncio.gather(*(desk.rings(sid) for _ in range(5)))
        assert verbs(answer) == ["Connect"]
        assert {repeat.content for repeat in repeats} == {answer.content}
        assert len({offer.plan.planned_at for offer in worker.offers if offer.plan.call_id == call_id}) == 1
        assert desk.plane.database.pool.is_away
        began_s = time.monotonic()
        for _ in range(10):
            assert (await desk.get("/v1/calls")).status_code == 503
        assert (await desk.rings(sid)).content == answer.content
        ready = await desk.http.get("/ready")
        assert (ready.status_code, ready.json()["database"]) == (503, False)
        assert time.monotonic() - began_s < 10, "each of these would wait two seconds for a connection"
        assert f"/resume/{call_id}/1" in answer.text
        plan = worker.offers[-1].plan
        assert (plan.call_id, plan.epoch, plan.version_id) == (call_id, 1, desk.version_id)
        assert (plan.agent.language, earlier.agent.language) == ("de", "de"), "the last known default of the project"
        assert plan.signing_secret
        assert list(plan.secrets) == ["deepgram"]
        await worker.opens(plan)
        assert verbs(await desk.rings("CA" + "2" * 32, To="+15559999999")) == ["Say", "Hangup"]
        users = await desk.get("/v1/calls")
        assert users.status_code == 503
        assert int(users.headers["retry-after"]) > 0
        resume = f"/webhooks/twilio/voice/resume/{earlier.call_id}/1"
        form = desk.form("CA" + "1" * 32, CallStatus="in-progress")
        held = await desk.twilio_asks(resume, form)
        assert verbs(held) == ["Pause", "Redirect"]
        await worker.closes(said_goodbye, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
        gone = desk.form("CA" + "3" * 32, CallStatus="in-progress")
        over = await desk.twilio_asks(f"/webhooks/twilio/voice/resume/{said_goodbye.call_id}/1", gone)
        assert verbs(over) == ["Hangup"], "the worker's last word is enough"
        for _ in range(2):
            ended = await desk.says("CA" + "3" * 32, "completed", SequenceNumber="3", CallDuration="7")
            assert ended.status_code == 204, "Twilio does not say it again"

        # The replica that held the caller first has a clock of its own.
        unrecorded = f"/webhooks/twilio/voice/resume/{call_id}/1?waiting_since={time.time() + 3:.0f}"

        await private_stack.postgres.start()
        await desk.comes_true(lambda: _answers(desk), timeout_s=20)
        assert (await desk.http.get("/ready")).status_code == 200
        assert (await desk.rings(sid)).content == answer.content, "also before its row knows an answer"
        again = (ET.fromstring(held.text)[1].text or "").removeprefix(desk.plane.config.public_url)
        assert again.startswith(f"{resume}?waiting_since=")
        assert verbs(await desk.twilio_asks(again, form)) == ["Connect"]
        if not await _is_there(desk, call_id):
            assert verbs(await desk.twilio_asks(unrecorded, desk.form(sid, CallStatus="in-progress"))) != ["Hangup"]
        await desk.comes(said_goodbye.call_id, "carrier.reported", timeout_s=30)
        await desk.comes(said_goodbye.call_id, "call.ended")
        assert (await desk.types(said_goodbye.call_id)).count("carrier.reported") == 1
        await desk.comes_true(lambda: _is_there(desk, call_id), timeout_s=30)
        first = ["call.answered", "call.initializing", "call.ringing", "call.started", "epoch.opened"]
        await desk.comes_true(lambda: _types_are(desk, call_id, first), timeout_s=40)
        shown = await desk.call(call_id)
        assert (shown["status"], shown["provider_call_id"]) == ("in_progress", sid)
        assert (shown["number_id"], shown["agent_id"]) == (desk.number_id, desk.agent_id)
        await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
        await desk.comes_true(lambda: _takes_status(desk, sid), timeout_s=20)
        await desk.becomes(call_id, timeout_s=20, status="completed", ended_reason="customer_ended_call")


async def test_a_refusal_while_postgres_is_away_has_its_reason(
    private_stack: DevStack, open_desk: Any, open_worker: Any, rest_face: Any, sid: str
) -> None:
    """A caller who waited in vain for a minute is told, and the record says no_capacity once there is one."""
    call_id = ids.inbound_call_id("twilio", "AC" + "a" * 32, sid)
    async with open_desk(rest_face, own=private_stack) as desk, open_worker(desk) as worker:
        worker.answer = "full"
        await desk.comes_true(lambda: desk.plane.routing.recall("twilio", desk.number))
        await desk.comes_true(lambda: desk.plane.routing.recall_agent(desk.agent_id))
        await private_stack.postgres.kill()
        inbound = "/webhooks/twilio/voice/inbound"
        first = await desk.rings(sid)
        assert verbs(first) == ["Say", "Pause", "Redirect"]
        late = await desk.twilio_asks(f"{inbound}?waiting_since={time.time() - 62:.0f}", desk.form(sid))
        assert verbs(late) == ["Say", "Hangup"]
        await private_stack.postgres.start()
        await desk.comes_true(lambda: _answers(desk), timeout_s=20)
        await desk.comes_true(lambda: _is_there(desk, call_id), timeout_s=30)
        await desk.comes(call_id, "end.intended", timeout_s=30)
        await desk.comes_true(lambda: _takes_status(desk, sid), timeout_s=20)
        shown = await desk.becomes(call_id, timeout_s=20, ended_reason="no_capacity")
        assert shown["status"] == "completed"


async def test_callers_hold_the_line_while_nats_is_away(
    private_stack: DevStack, open_desk: Any, open_worker: Any, rest_face: Any, sid: str
) -> None:
    """A call that rings without a bus is held, also beyond the usual time, and placed when the bus is back."""
    async with open_desk(rest_face, own=private_stack) as desk, open_worker(desk) as worker:
        await private_stack.nats.kill()
        assert verbs(await desk.rings(sid)) == ["Say", "Pause", "Redirect"]
        await desk.execute("update calls set created_at = now() - interval '30 s' where provider_call_id = %s", sid)
        await asyncio.sleep(1.5)
        assert desk.plane.workers.alive("calls") == []
        assert verbs(await desk.rings(sid)) == ["Pause", "Redirect"]
        await private_stack.nats.start()
        await desk.comes_true(lambda: desk.plane.workers.alive("calls"), timeout_s=20)
        assert verbs(await desk.rings(sid)) == ["Connect"]
        assert worker.offers[-1].plan.provider_call_id == sid


async def _answers(desk: Any) -> bool:
    return bool((await desk.get("/v1/calls")).status_code == 200)


async def _types_are(desk: Any, call_id: CallId, wanted: list[str]) -> bool:
    return sorted(await desk.types(call_id)) == wanted


async def _takes_status(desk: Any, sid: str) -> bool:
    """Twilio repeats a status callback that was not taken."""
    return bool((await desk.says(sid, "completed", CallDuration="5")).status_code == 204)


async def _is_there(desk: Any, call_id: str) -> bool:
    return bool((await desk.get(f"/v1/calls/{call_id}")).status_code == 200)
