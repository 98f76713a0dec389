"""Trials by phone: who is called and how, what such a call is not, and what becomes of one that nobody awaits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import numpy as np
import pytest_asyncio
from psycopg.types.json import Jsonb

from turncall_phone import Account, Carrier
from turncall_phone.caller import Answers, HangUp, Interrupt, Noise, Pause, Say
from turncall_proto import ids
from turncall_proto.call import CallStart
from turncall_proto.events import RecordingPart, RecordingReady, ToolCalled, ToolReturned, TranscriptFinal
from turncall_testkit.media_sockets import Media, taking_sockets

from .test_recordings import stored

NUMBER = "+15550100019"
ACCOUNT = Account(sid="AC" + "a" * 32, auth_token="turncall-test-token", numbers=(NUMBER,))
BY_PHONE = {"mode": "phone", "from_number": NUMBER}
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

    async def live(self, run: Any) -> CallStart:
        """The plan of the call of a run, once its agent is live."""

        async def call_id() -> Any:
            return (await self.trial(run))["call_id"]

        return await self._live(call_id)

    async def live_at(self, replays: str) -> CallStart:
        """The plan of the call that a replay is, once its agent is live."""

        async def call_id() -> Any:
            return (await self.asks("GET", replays))["items"][0]["replayed_as"]

        return await self._live(call_id)

    async def _live(self, find: Callable[[], Awaitable[Any]]) -> CallStart:
        async def is_live() -> bool:
            call_id = await find()
            return call_id is not None and (await self.desk.call(call_id))["started_at"] is not None

        await self.desk.comes_true(is_live, timeout_s=60)
        call_id = await find()
        plan: CallStart = next(offer.plan for offer in self.media.worker.offers if offer.plan.call_id == call_id)
        return plan

    async def talks(self, plan: CallStart, answer: str, *parts: RecordingPart) -> None:
        """The caller of a live call asks for something, a tool is used, and the agent says what came of it."""
        use = {"tool_call_id": "c1", "tool": "book"}
        said = partial(self.media.worker.fact, TranscriptFinal, plan, start_ms=1000, end_ms=2000, turn=1)
        facts = [
            said(speaker="caller", text="Book me."),
            self.media.worker.fact(ToolCalled, plan, arguments={"day": "Tuesday"}, turn=1, **use),
            self.media.worker.fact(ToolReturned, plan, is_ok=True, output={"number": 7}, latency_ms=5, **use),
            said(speaker="agent", text=answer),
        ]
        if parts:
            facts.append(self.media.worker.fact(RecordingReady, plan, rate_hz=8000, duration_ms=2000, parts=parts))
        await self.media.worker.publish(*facts)
        await self.desk.comes(plan.call_id, "tool.result")

    async def leaves(self, plan: CallStart) -> None:
        """The caller hangs up, and all that is known of the call is stored."""
        next(call for call in self.carrier.calls if call.sid == plan.provider_call_id).hang_up()

        async def is_settled() -> bool:
            row = ids.parsed(ids.CALL, plan.call_id)
            return bool(await self.desk.rows("select from calls where id = %s and settled_at is not null", row))

        await self.desk.comes_true(is_settled, timeout_s=60)


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


async def test_a_replay_plays_the_recording_and_tells_what_has_changed(bench: Bench) -> None:
    """The line gets the caller's own sound, and the agent the record's answers, to the same uses and no others; what
    the agent says otherwise is told; the replay, and the call that it is, are erased with the call."""
    desk, worker = bench.desk, bench.media.worker
    source = await bench.live(await bench.asks("POST", await bench.suite(), BY_PHONE | {"agent_id": desk.agent_id}))
    caller = (6000 * np.sin(np.arange(8000))).astype(np.int16)
    stereo = np.stack([np.concatenate([np.zeros(8000, np.int16), caller]), np.zeros(16_000, np.int16)], axis=1)
    await bench.talks(source, "Booked.", await stored(desk, source.call_id, 1, 0, stereo.tobytes()))
    replay = f"/v1/calls/{source.call_id}/replay"
    await bench.asks("POST", replay, {"agent_id": desk.agent_id}, status=409)  # its caller is still there
    await bench.leaves(source)
    asked = {"agent_id": desk.agent_id, "from_number": NUMBER}
    begun = await bench.asks("POST", replay, asked)
    assert (begun["state"], begun["account"], begun["difference"]) == ("running", ACCOUNT.sid, None)

    replayed = await bench.live_at(replay + "s")
    phone = bench.carrier.phone(replayed.to_number)
    assert isinstance(phone, Answers)
    pause, say, hang_up = phone.script[0], phone.script[1], phone.script[-1]
    assert isinstance(say, Say)
    assert np.corrcoef(np.frombuffer(say.pcm, np.int16)[800:8000], caller[:7200])[0, 1] > 0.99
    assert (type(pause), type(hang_up)) == (Pause, HangUp)
    (mock,) = replayed.mocks
    assert (mock.tool, mock.arguments, mock.answer, mock.is_exact) == ("book", {"day": "Tuesday"}, {"number": 7}, True)
    await bench.talks(replayed, "Full.")
    await bench.leaves(replayed)

    async def is_over() -> bool:
        return (await bench.asks("GET", replay + "s"))["items"][0]["state"] == "completed"

    await desk.comes_true(is_over, timeout_s=60)
    (shown,) = (await bench.asks("GET", replay + "s"))["items"]
    assert (shown["replayed_as"], shown["difference"]["is_same"]) == (replayed.call_id, False)
    (turn,) = shown["difference"]["turns"]
    assert (turn["before"]["agent"], turn["after"]["agent"]) == ("Booked.", "Full.")
    assert turn["before"]["tools"] == turn["after"]["tools"]
    assert len(worker.offers) == len({offer.plan.call_id for offer in worker.offers}), "each call was had once"
    await bench.asks("DELETE", f"/v1/calls/{source.call_id}")
    for call_id in (source.call_id, replayed.call_id):
        await bench.asks("GET", f"/v1/calls/{call_id}", status=404)
    assert await desk.rows("select from replays where project_id = %s", ids.parsed(ids.PROJECT, desk.project_id)) == []
