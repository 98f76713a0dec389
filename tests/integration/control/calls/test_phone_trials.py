"""Trials by phone: who is called and how, what such a call is not, and what becomes of one that nobody awaits."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio
from psycopg.types.json import Jsonb

from turncall_phone import Account, Carrier
from turncall_phone.caller import Answers, Interrupt, Noise, Say
from turncall_proto import ids
from turncall_testkit.media_sockets import Media, taking_sockets

NUMBER = "+15550100019"
ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=(NUMBER,))
STREAM_KEYS = "t1:a-secret-of-this-test"
SCENARIO = {
    "name": "Books",
    "sound": {"voice": "en-gb-x-rp", "noise_snr_db": 20},
    "caller": {
        "kind": "script",
        "steps": [{"step": "say", "text": "Book me."}, {"step": "interrupt", "text": "Wait.", "after_ms": 300}],
    },
    "mocks": [{"tool": "book", "answer": {"number": 7}}],
    "variables": {"name": "Ada"},
    "expects": [{"expect": "ended", "reason": "assistant_ended_call"}],
}


class Bench:
    """A control plane with a test line, a worker that says nothing, and a project with one number."""

    def __init__(self, desk: Any, carrier: Carrier, media: Media) -> None:
        self.desk, self.carrier, self.media = desk, carrier, media

    async def asks(self, method: str, path: str, body: Any = None, *, status: int = 0) -> Any:
        """A user's request; fails unless it succeeds, or ends in ``status``."""
        answer = await self.desk.http.request(method, path, json=body, headers=self.desk.bearer)
        assert answer.status_code == status if status else answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def suite(self, **changes: Any) -> str:
        """A suite of one scenario; where it is run."""
        made = await self.asks("PUT", "/v1/test-suites", {"name": "Desk", "scenarios": [SCENARIO | changes]})
        return f"/v1/test-suites/{made['id']}/runs"

    async def trial(self, run: Any) -> Any:
        """The one conversation of a run."""
        (trial,) = (await self.asks("GET", f"/v1/test-runs/{run['id']}/trials"))["items"]
        return trial


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bench(open_desk: Any, open_worker: Any) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as running:
        carrier = await running.enter_async_context(Carrier([ACCOUNT]))
        opened = open_desk(
            None,
            is_reachable=True,
            twilio_base_url=carrier.base_url,
            dial_rate_per_s=100.0,
            test_lines="emulator",
        )
        desk = await running.enter_async_context(opened)
        worker = await running.enter_async_context(open_worker(desk))
        media = await running.enter_async_context(taking_sockets(worker, STREAM_KEYS))
        routing = {"kind": "agent", "agent_id": desk.agent_id}
        bound = await desk.http.post("/v1/numbers", json={"number": NUMBER, "routing": routing}, headers=desk.bearer)
        assert bound.status_code == 201, bound.text
        yield Bench(desk, carrier, media)


async def test_a_trial_by_phone_is_a_marked_call_to_a_caller_who_is_played(bench: Bench) -> None:
    """The agent gets its mocks with the plan; a project that may call nobody calls the test line, nobody's server hears
    of the call, and it is no usage; deleting it leaves the trial's verdict."""
    desk = bench.desk
    hook = await bench.asks("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65000/"})
    rules = Jsonb({"outbound": {"allowed_prefixes": ["+1800"]}})
    await desk.execute(
        "update projects set settings = %s where id = %s", rules, ids.parsed(ids.PROJECT, desk.project_id)
    )
    desk.plane.settings.forget(desk.project_id)
    bench.media.deeds = ["hangs up"]
    runs = await bench.suite()
    run = await bench.asks("POST", runs, {"agent_id": desk.agent_id, "mode": "phone", "from_number": NUMBER})
    assert (run["mode"], run["account"], run["from_number"]) == ("phone", ACCOUNT.sid, NUMBER)

    async def is_over() -> bool:
        return bool((await bench.asks("GET", f"/v1/test-runs/{run['id']}"))["state"] == "completed")

    await desk.comes_true(is_over, timeout_s=60)
    trial = await bench.trial(run)
    assert (trial["state"], trial["talk"]["ended"]) == ("passed", "assistant_ended_call"), trial
    shown = await desk.call(trial["call_id"])
    assert (shown["is_test"], shown["direction"], shown["variables"]) == (True, "outbound", {"name": "Ada"})
    phone = bench.carrier.phone(shown["to_number"])
    assert isinstance(phone, Answers)
    noise, _, say, interrupt, *_ = phone.script
    assert (noise, say) == (Noise(snr_db=20), Say(text="Book me.", voice="en-gb-x-rp"))
    assert isinstance(interrupt, Interrupt)
    assert interrupt.after_ms == 300
    (mock,) = bench.media.worker.offers[-1].plan.mocks
    assert (mock.tool, mock.answer) == ("book", {"number": 7})
    assert [one["id"] for one in (await bench.asks("GET", "/v1/calls?is_test=true"))["items"]] == [shown["id"]]
    assert (await bench.asks("GET", "/v1/calls?is_test=false"))["items"] == []
    deliveries = (await bench.asks("GET", f"/v1/webhook-deliveries?webhook_id={hook['webhook']['id']}"))["items"]
    assert [one["type"] for one in deliveries] == ["test_run.completed"]
    await bench.asks("DELETE", f"/v1/calls/{shown['id']}")
    assert (await bench.trial(run))["state"] == "passed"


async def test_a_run_by_phone_that_is_cancelled_ends_its_call(bench: Bench) -> None:
    """The caller would otherwise wait for an answer until the agent gives up."""
    run = await bench.asks(
        "POST", await bench.suite(), {"agent_id": bench.desk.agent_id, "mode": "phone", "from_number": NUMBER}
    )

    async def is_live() -> bool:
        call_id = (await bench.trial(run))["call_id"]
        return call_id is not None and (await bench.desk.call(call_id))["started_at"] is not None

    await bench.desk.comes_true(is_live, timeout_s=60)
    await bench.asks("POST", f"/v1/test-runs/{run['id']}/cancel")

    async def is_ended() -> bool:
        return (await bench.desk.call((await bench.trial(run))["call_id"]))["ended_reason"] == "api_ended_call"

    await bench.desk.comes_true(is_ended, timeout_s=60)
    assert (await bench.trial(run))["state"] == "canceled"


async def test_what_cannot_be_had_is_refused_before_anybody_is_called(bench: Bench) -> None:
    """A voice that the line has not, by the trial; what only a phone can do, in writing; numbers that are not there."""
    runs, agent = await bench.suite(sound={"voice": "xx-nobody"}), {"agent_id": bench.desk.agent_id}
    for wrong in ({"mode": "text"}, {"mode": "phone", "from_number": "+15550100020"}):
        await bench.asks("POST", runs, agent | wrong, status=422)
    run = await bench.asks("POST", runs, agent | {"mode": "phone", "from_number": NUMBER})

    async def is_given_up() -> bool:
        return bool((await bench.trial(run))["state"] == "error")

    await bench.desk.comes_true(is_given_up, timeout_s=60)
    trial = await bench.trial(run)
    assert "has no voice 'xx-nobody'" in trial["detail"]
    assert trial["call_id"] is None
