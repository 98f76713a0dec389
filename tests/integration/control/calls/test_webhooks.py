"""From a call's facts to the users' servers: signed, in order, again until they arrive, by real senders."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from turncall_control.projects.signing import derived_secret
from turncall_control.webhooks import queue
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.events import PUBLIC_TAGS, EpochClosed, Event, TranscriptFinal, UtteranceBegun
from turncall_proto.ids import CallId
from turncall_testkit.receiver import Receiver, receiving

GOLDEN = Path(__file__).parents[3] / "contract" / "golden"
ACCOUNT = "AC" + "a" * 32
RETRIES_S = (1, 1, 2)
TIMEOUT_S = 1


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(open_desk: Any, a_rest_face: Any) -> AsyncIterator[Any]:
    """A control plane that tries four times within seconds."""
    async with (
        a_rest_face() as rest,
        open_desk(rest, webhook_retries_s=RETRIES_S, webhook_timeout_s=TIMEOUT_S) as desk,
    ):
        yield desk


class Subscriber:
    """A receiver and its subscription."""

    def __init__(self, desk: Any, receiver: Receiver, webhook: dict[str, Any]) -> None:
        self.desk = desk
        self.receiver = receiver
        self.webhook = webhook

    @property
    def path(self) -> str:
        """The subscription in the API."""
        return f"/v1/webhooks/{self.webhook['id']}"

    async def shown(self) -> dict[str, Any]:
        """The subscription as the API shows it."""
        shown: dict[str, Any] = (await self.desk.get(self.path)).json()
        return shown

    async def log(self, **wanted: str) -> list[dict[str, Any]]:
        """Its deliveries, newest first."""
        answer = await self.desk.get("/v1/webhook-deliveries", params={"webhook_id": self.webhook["id"], **wanted})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def asks(self, path: str, body: Any = None) -> dict[str, Any]:
        """A POST about the subscription."""
        answer = await self.desk.http.post(self.path + path, json=body, headers=self.desk.bearer)
        assert answer.is_success, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def takes(self, call_id: CallId, *types: str, timeout_s: float = 20.0) -> None:
        """Returns once exactly these events of a call were taken, in this order, repeats left out."""
        got: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                while got != list(types):
                    got = [request.type for request in self.receiver.first_taken(call_id)]
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{got} instead of {types}") from None


@pytest_asyncio.fixture(loop_scope="session")
async def subscribe(desk: Any) -> AsyncIterator[Any]:
    """Subscribes a receiver of the test's own; its subscriptions are deleted at the end."""
    made: list[str] = []

    async def subscribed(receiver: Receiver, **fields: Any) -> Subscriber:
        answer = await desk.http.post("/v1/webhooks", json={"url": receiver.url, **fields}, headers=desk.bearer)
        assert answer.status_code == 201, answer.text
        receiver.secrets.append(answer.json()["secret"])
        made.append(answer.json()["webhook"]["id"])
        return Subscriber(desk, receiver, answer.json()["webhook"])

    yield subscribed
    for webhook_id in made:
        answer = await desk.http.delete(f"/v1/webhooks/{webhook_id}", headers=desk.bearer)
        assert answer.status_code in (204, 404)


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """A user's server."""
    async with receiving() as receiver:
        yield receiver


async def a_whole_call(desk: Any, worker: Any, sid: str, words: int = 1) -> Any:
    """A call in which the caller says something and hangs up; its plan."""
    await desk.rings(sid)
    call_id = ids.inbound_call_id("twilio", ACCOUNT, sid)
    plan = next(offer.plan for offer in worker.offers if offer.plan.call_id == call_id)
    await worker.opens(plan)
    for n in range(words):
        begun = worker.fact(UtteranceBegun, plan, speaker="caller", text="", start_ms=n, turn=n)
        said = worker.fact(TranscriptFinal, plan, speaker="caller", text=f"word {n}", start_ms=n, end_ms=n, turn=n)
        await worker.publish(begun, said)
    await worker.closes(plan, CallState.COMPLETED, EndedReason.CUSTOMER_ENDED_CALL)
    await desk.says(sid, "completed", CallDuration="3")
    return plan


STORY = ("call.initializing", "call.ringing", "call.answered", "call.started", "transcript.final", "call.ended")


async def test_a_subscriber_hears_of_a_call_in_order(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """Public events come once each, signed, in the order of call_seq, with the words of the API's own event log."""
    subscriber = await subscribe(receiver)
    await a_whole_call(desk, worker, sid)
    await subscriber.takes(call_id, *STORY)
    events = (await desk.get(f"/v1/calls/{call_id}/events")).json()["items"]
    assert [request.data["call_seq"] for request in receiver.taken] == [event["call_seq"] for event in events]
    said = next(request for request in receiver.taken if request.type == "transcript.final")
    assert (said.data["text"], said.data["call_id"], said.data["project_id"]) == ("word 0", call_id, desk.project_id)
    assert said.headers["content-type"] == "application/json"
    ended = receiver.taken[-1].data
    assert (ended["reason"], ended["state"]) == ("customer_ended_call", "completed")
    assert (ended["call"]["agent_id"], ended["call"]["direction"]) == (desk.agent_id, "inbound")
    log = await subscriber.log(status="delivered")
    assert {entry["id"] for entry in log} == {request.id for request in receiver.taken}
    assert [attempt["status"] for attempt in log[0]["tries"]] == [204]


def a_workers(kind: Any) -> dict[str, Any] | None:
    """The golden file of this kind that a worker has stated, the fullest first; None of what control alone states."""
    tag = kind.__struct_config__.tag
    for path in (GOLDEN / f"{tag}.json", GOLDEN / f"{tag}.least.json"):
        if path.exists() and (golden := json.loads(path.read_text()))["epoch"]:
            return dict(golden)
    return None


async def test_every_public_event_of_a_worker_is_told_and_no_internal_one(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """Of all facts that a worker can state the public ones arrive, in order, with the fields of the contract."""
    subscriber = await subscribe(receiver)
    await desk.rings(sid)
    facts = []
    for kind in Event.__args__:
        golden = a_workers(kind)
        if golden and kind is not EpochClosed:
            fields = msgspec.convert({**golden, "epoch": 1}, kind)
            header = {"call_id": call_id, "project_id": desk.project_id, "seq": len(facts) + 1}
            facts.append(msgspec.structs.replace(fields, **header))
    await worker.publish(*facts)
    public = [fact for fact in facts if fact.__struct_config__.tag in PUBLIC_TAGS]
    assert {"call.resumed", "tool.result", "recording.ready"} <= {fact.__struct_config__.tag for fact in public}
    own = ["call.initializing", "call.ringing", "call.answered"]
    await subscriber.takes(call_id, *own, *[fact.__struct_config__.tag for fact in public])
    for request, fact in zip(receiver.first_taken(call_id)[len(own) :], public, strict=True):
        told = {name: value for name, value in request.data.items() if name != "call_seq"}
        assert {"type": request.type, **told} == json.loads(msgspec.json.encode(fact))


async def test_events_agents_and_switches_are_heeded(
    desk: Any, worker: Any, sid: str, call_id: CallId, subscribe: Any
) -> None:
    """A subscription gets the events that it names, of the agent that it names, and nothing while it is disabled."""
    async with receiving() as chosen, receiving() as ours, receiving() as others, receiving() as off:
        other = ids.mint(ids.AGENT)
        await desk.execute(
            "insert into agents (id, project_id, name, environment) values (%s, %s, 'Other', 'production')",
            ids.parsed(ids.AGENT, other),
            ids.parsed(ids.PROJECT, desk.project_id),
        )
        subscriber = await subscribe(chosen, event_types=["call.started", "call.ended"])
        one_agents = await subscribe(ours, agent_id=desk.agent_id)
        await subscribe(others, agent_id=other)
        disabled = await subscribe(off, is_enabled=False)
        await a_whole_call(desk, worker, sid)
        await subscriber.takes(call_id, "call.started", "call.ended")
        await one_agents.takes(call_id, *STORY)
        assert others.received == []
        assert off.received == []
        assert await disabled.log() == []


async def test_a_failing_event_holds_up_only_its_call(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """While one call's first event is refused, hangs and is cut off, another call's arrive; then its own, in order."""
    receiver.answer, receiver.answer_headers = "x" * 5000 + "\0", {"X-Any": "thing"}
    receiver.deeds.extend([500, "hang", "redirect"])
    subscriber = await subscribe(receiver, event_types=["call.initializing", "call.started", "call.ended"])
    await a_whole_call(desk, worker, sid)
    await desk.comes_true(lambda: len(receiver.received) >= 1)
    other_sid = "CA" + "0" * 31 + "7"
    other = ids.inbound_call_id("twilio", ACCOUNT, other_sid)
    await a_whole_call(desk, worker, other_sid)
    await subscriber.takes(call_id, "call.initializing", "call.started", "call.ended", timeout_s=20)
    await subscriber.takes(other, "call.initializing", "call.started", "call.ended")
    first = [request for request in receiver.received if request.data["call_id"] == call_id]
    assert len({request.id for request in first if request.type == "call.initializing"}) == 1
    stamps = [request.headers["webhook-timestamp"] for request in first if request.type == "call.initializing"]
    assert stamps == sorted(stamps)
    assert stamps[0] < stamps[-1], "the timestamp is that of the attempt"
    (entry,) = [entry for entry in await subscriber.log(call_id=call_id) if entry["type"] == "call.initializing"]
    assert len(entry["tries"][0]["answer"]) == 1024


async def test_a_busy_server_is_left_alone(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """After a 429 with Retry-After nothing is sent to the subscription before that time, of no call; then all is."""
    receiver.deeds.append(429)
    receiver.answer_headers = {"Retry-After": "3"}
    subscriber = await subscribe(receiver, event_types=["call.initializing"])
    await a_whole_call(desk, worker, sid)
    await desk.comes_true(lambda: len(receiver.received) == 1)
    await desk.comes_true(lambda: _is_paused(subscriber))
    other_sid = "CA" + "0" * 31 + "8"
    await desk.rings(other_sid)
    await subscriber.takes(call_id, "call.initializing", timeout_s=20)
    await subscriber.takes(ids.inbound_call_id("twilio", ACCOUNT, other_sid), "call.initializing")
    refused, *later = receiver.received
    assert {int(request.headers["webhook-timestamp"]) >= int(refused.headers["webhook-timestamp"]) + 3
            for request in later} == {True}  # fmt: skip


async def _is_paused(subscriber: Subscriber) -> bool:
    return (await subscriber.shown())["paused_until"] is not None


async def test_gone_ends_the_subscription_and_others_are_told(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """A 410 disables at once; another subscription hears of it; what was missed can be had after enabling it again."""
    async with receiving() as watcher:
        await subscribe(watcher, event_types=["webhook.disabled"])
        receiver.deeds.append(410)
        subscriber = await subscribe(receiver)
        await a_whole_call(desk, worker, sid)
        await desk.comes_true(lambda: len(watcher.taken) == 1)
        told = watcher.taken[0].data
        assert (told["webhook_id"], told["reason"]) == (subscriber.webhook["id"], "gone")
        shown = await subscriber.shown()
        assert (shown["is_enabled"], shown["disabled_reason"]) == (False, "gone")
        await desk.comes_true(lambda: _all_failed(subscriber, len(STORY)))
        assert len(receiver.received) == 1
        refused = await desk.http.post(
            f"{subscriber.path}/redeliver", json={"since": "2026-01-01T00:00:00Z"}, headers=desk.bearer
        )
        assert refused.status_code == 409
        enabled = await desk.http.patch(subscriber.path, json={"is_enabled": True}, headers=desk.bearer)
        assert (enabled.json()["is_enabled"], enabled.json()["disabled_reason"]) == (True, None)
        queued = await subscriber.asks("/redeliver", {"since": shown["created_at"]})
        assert (queued["count"], queued["next_since"]) == (len(STORY), None)
        await subscriber.takes(call_id, *STORY)


async def _all_failed(subscriber: Subscriber, count: int) -> bool:
    return len(await subscriber.log(status="failed")) == count


async def test_sustained_failure_disables_and_says_so(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """When an event has used up its attempts and nothing arrived, the subscription is disabled, with notice."""
    async with receiving() as watcher:
        other = await subscribe(watcher)
        receiver.deed = 503
        subscriber = await subscribe(receiver, event_types=["call.ringing", "call.ended"])
        await a_whole_call(desk, worker, sid)
        await desk.comes_true(lambda: _is_disabled(subscriber), timeout_s=20)
        tried = [request for request in receiver.received if request.type == "call.ringing"]
        assert len(tried) == len(receiver.received) == 1 + len(RETRIES_S)
        assert (await subscriber.shown())["disabled_reason"] == "failing"
        await desk.comes_true(lambda: "webhook.disabled" in [request.type for request in watcher.taken])
        await other.takes(call_id, *STORY)


async def _is_disabled(subscriber: Subscriber) -> bool:
    return not (await subscriber.shown())["is_enabled"]


async def test_an_event_that_is_given_up_frees_its_call(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """Where other events arrive, one that used up its attempts is marked failed and the call's later ones go on."""
    subscriber = await subscribe(receiver, event_types=["call.initializing", "call.started", "call.ended"])
    receiver.deeds.extend([500] * (1 + len(RETRIES_S)))
    await a_whole_call(desk, worker, sid)
    await desk.comes_true(lambda: len(receiver.received) == 1)
    # Something else arrives meanwhile: the server works.
    await desk.execute("update webhooks set last_delivered_at = now() + interval '1 minute'")
    await subscriber.takes(call_id, "call.started", "call.ended", timeout_s=20)
    assert (await subscriber.shown())["is_enabled"]
    (lost,) = await subscriber.log(status="failed")
    assert (lost["type"], lost["failure"], len(lost["tries"])) == ("call.initializing", "answered 500", 4)
    again = await desk.http.post(f"/v1/webhook-deliveries/{lost['id']}/redeliver", headers=desk.bearer)
    assert again.status_code == 202
    await subscriber.takes(call_id, "call.started", "call.ended", "call.initializing")
    assert receiver.taken[-1].id == lost["id"]


async def test_rotated_secret_signs_beside_the_old_one(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """For a day requests carry both signatures, so a receiver may know either secret."""
    subscriber = await subscribe(receiver, event_types=["call.ringing"])
    (old,) = receiver.secrets
    rotated = await subscriber.asks("/rotate-secret")
    assert rotated["secret"] != old
    assert rotated["webhook"]["previous_secret_until"] is not None
    await desk.rings(sid)
    await subscriber.takes(call_id, "call.ringing")
    receiver.secrets[:] = [rotated["secret"]]
    await subscriber.asks("/test")
    await desk.comes_true(lambda: [request.type for request in receiver.taken] == ["call.ringing", "webhook.test"])
    assert len(receiver.taken[-1].headers["webhook-signature"].split()) == 2
    await desk.execute("update webhooks set previous_until = now() where previous_until is not null")
    await subscriber.asks("/test")
    await desk.comes_true(lambda: len(receiver.taken) == 3)
    assert len(receiver.taken[-1].headers["webhook-signature"].split()) == 1


async def test_test_event_is_tried_once(desk: Any, receiver: Receiver, subscribe: Any) -> None:
    """It goes to a disabled subscription too, its outcome is in the log, and a failure disables nothing."""
    receiver.deed = 500
    subscriber = await subscribe(receiver, is_enabled=False)
    made = await subscriber.asks("/test")
    assert made["status"] == "pending"
    await desk.comes_true(lambda: _all_failed(subscriber, 1))
    (entry,) = await subscriber.log(type="webhook.test")
    assert (entry["id"], entry["failure"], len(receiver.received)) == (made["id"], "answered 500", 1)


@pytest.mark.proves("agent.server.call_end_url")
async def test_agents_own_server_is_told_of_the_end(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver
) -> None:
    """The agent's call_end_url gets one call-end per call, signed with the project's secret, with the transcript."""
    receiver.secrets.append(derived_secret(desk.plane.config.key_pepper, desk.project_id).reveal())
    receiver.deeds.append(500)
    await desk.execute(
        "update agent_versions set config = config || jsonb_build_object('server', jsonb_build_object("
        "'call_end_url', %s::text))",
        receiver.url,
    )
    try:
        await a_whole_call(desk, worker, sid, words=3)
        await desk.comes_true(lambda: receiver.taken != [], timeout_s=20)
    finally:
        await desk.execute("update agent_versions set config = config - 'server'")
    (told,) = receiver.taken
    assert (told.type, told.data["call_id"], told.data["reason"]) == ("call-end", call_id, "customer_ended_call")
    assert [said["text"] for said in told.data["transcript"]] == ["word 0", "word 1", "word 2"]
    assert told.id == receiver.received[0].id
    answer = await desk.get("/v1/webhook-deliveries", params={"call_id": call_id, "type": "call-end"})
    (entry,) = answer.json()["items"]
    assert (entry["agent_id"], entry["webhook_id"], len(entry["tries"])) == (desk.agent_id, None, 2)


async def test_two_senders_send_each_event_once(
    desk: Any, worker: Any, receiver: Receiver, subscribe: Any, another_sender: Any
) -> None:
    """Two senders over one table take different deliveries: nothing arrives twice while both live."""
    subscriber = await subscribe(receiver)
    async with another_sender(desk):
        sids = ["CA" + f"{n:032x}" for n in range(700, 710)]
        await asyncio.gather(*(a_whole_call(desk, worker, sid, words=3) for sid in sids))
        for sid in sids:
            call_id = ids.inbound_call_id("twilio", ACCOUNT, sid)
            await subscriber.takes(call_id, *STORY[:4], *[STORY[4]] * 3, STORY[5], timeout_s=20)
    arrived = [request.id for request in receiver.taken]
    assert len(arrived) == len(set(arrived))


async def test_what_another_sender_has_is_not_woken(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """A sender is done with one event when another has taken the next already, by a lease that ends later than its own:
    that one is left alone. One that only waits behind it is due at once."""
    subscriber = await subscribe(receiver)
    await a_whole_call(desk, worker, sid, words=3)
    await subscriber.takes(call_id, *STORY[:4], *[STORY[4]] * 3, STORY[5], timeout_s=20)
    call, target = ids.parsed(ids.CALL, call_id), ids.parsed(ids.WEBHOOK, subscriber.webhook["id"])
    now = datetime.now(UTC)
    last = "call_id = %s and target_id = %s and type = 'call.ended'"
    await desk.execute(
        f"update webhook_deliveries set status = 'pending', due_at = %s where {last}",
        now + timedelta(seconds=60),
        call,
        target,
    )
    seen = []
    for lease_s in (30, 90):
        done = queue.Taken(
            **dict.fromkeys(("first_tried_at", "secret", "previous_secret", "call_seq", "data", "webhook_id")),
            **{"id": target, "project_id": target, "target_id": target, "call_id": call, "attempts": 0},
            **{"url": "", "type": "call.started", "at": now, "due_at": now + timedelta(seconds=lease_s)},
        )
        async with desk.plane.database.pool.connection() as connection, connection.transaction():
            await queue.wake_next(connection, done)
            rows = await connection.execute(
                f"select due_at > now() from webhook_deliveries where {last}", (call, target)
            )
            seen += await rows.fetchall()
    assert seen == [(True,), (False,)]


async def test_old_deliveries_are_forgotten(
    desk: Any, worker: Any, sid: str, call_id: CallId, receiver: Receiver, subscribe: Any
) -> None:
    """The sweep deletes what is older than the operator keeps it, and nothing else."""
    from turncall_control.webhooks.retention import swept

    subscriber = await subscribe(receiver)
    await a_whole_call(desk, worker, sid)
    await subscriber.takes(call_id, *STORY)
    await desk.execute(
        "update webhook_deliveries set created_at = now() - interval '31 days' where type = 'call.ringing'"
    )
    await swept(desk.plane.database.pool, desk.plane.config.webhook_log_days)
    kept = [entry["type"] for entry in await subscriber.log()]
    assert sorted(kept) == sorted(set(STORY) - {"call.ringing"})
