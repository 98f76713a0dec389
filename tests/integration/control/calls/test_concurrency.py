"""How many calls a project, an agent and a number may have at a time, over real Postgres, Redis and NATS."""

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from psycopg.types.json import Jsonb
from redis.asyncio import Redis

from turncall_control.calls import concurrency
from turncall_control.calls.concurrency import TooManyCalls
from turncall_proto import ids
from turncall_proto.call import CallState, EndedReason
from turncall_proto.ids import CallId

ACCOUNT = "AC" + "a" * 32
SCOPES = ("project", "agent", "number")


async def limit(desk: Any, scope: str, calls: int | None) -> None:
    """Allows as many calls at a time; None for any number."""
    if scope == "project":
        settings = Jsonb({"limits": {"concurrent_calls": calls}})
        project = ids.parsed(ids.PROJECT, desk.project_id)
        await desk.execute("update projects set settings = %s where id = %s", settings, project)
        return
    path = {"agent": f"/v1/agents/{desk.agent_id}", "number": f"/v1/numbers/{desk.number_id}"}[scope]
    answer = await desk.http.patch(path, headers=desk.bearer, json={"max_concurrent_calls": calls})
    assert answer.status_code == 200, answer.text


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _quiet(desk: Any) -> AsyncIterator[None]:
    """Each test begins without live calls and ends without limits."""
    await desk.comes_true(lambda: _is_empty(desk))
    yield
    for scope in SCOPES:
        await limit(desk, scope, None)


async def _is_empty(desk: Any) -> bool:
    return not await desk.rows("select 1 from calls where is_counted")


def new_call() -> tuple[str, CallId]:
    """A call as the carrier and as we name it."""
    sid = "CA" + uuid4().hex
    return sid, ids.inbound_call_id("twilio", ACCOUNT, sid)


async def verbs(desk: Any, sid: str) -> list[str]:
    """What the carrier is told to do with a call that rings."""
    return [verb.tag for verb in ET.fromstring((await desk.rings(sid)).text)]


CONNECTED, BUSY = ["Connect"], ["Say", "Hangup"]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.proves("settings.limits.concurrent_calls")
async def test_a_caller_over_the_limit_is_told_so_and_nobody_else_is(desk: Any, worker: Any, scope: str) -> None:
    """Two calls are let in, a third hears that all lines are busy and is no_capacity with the limit in its facts; when
    one of the two ends, the next caller is let in."""
    await limit(desk, scope, 2)
    (first, first_id), (second, _), (third, third_id), (fourth, _) = (new_call() for _ in range(4))
    assert await verbs(desk, first) == CONNECTED
    assert await verbs(desk, second) == CONNECTED
    assert await verbs(desk, third) == BUSY
    assert await verbs(desk, third) == BUSY, "a repeat gets the same answer"
    assert third_id not in {offer.plan.call_id for offer in worker.offers}
    await desk.says(third, "completed", CallDuration="2")
    await desk.becomes(third_id, ended_reason="no_capacity")
    told = await desk.get(f"/v1/calls/{third_id}/events", params={"internal": True})
    details = [fact["data"]["detail"] for fact in told.json()["items"] if fact["type"] == "end.intended"]
    assert details == [f"the {scope} allows 2 calls at a time"]

    await desk.says(first, "completed", CallDuration="2")
    await desk.becomes(first_id, status="completed")
    assert await verbs(desk, fourth) == CONNECTED, "room is made at once, not at the next sweep"


async def test_calls_that_come_at_once_do_not_pass_the_limit(desk: Any, worker: Any) -> None:
    """Of ten calls at the same moment exactly three are let in."""
    await limit(desk, "project", 3)
    answers = await asyncio.gather(*(verbs(desk, new_call()[0]) for _ in range(10)))
    assert sorted(answers) == [CONNECTED] * 3 + [BUSY] * 7


async def test_a_repeat_takes_one_slot(desk: Any, worker: Any) -> None:
    """The carrier's repeats of one webhook count once."""
    await limit(desk, "agent", 2)
    sid, _ = new_call()
    assert await verbs(desk, sid) == await verbs(desk, sid) == await verbs(desk, sid) == CONNECTED
    assert await verbs(desk, new_call()[0]) == CONNECTED


async def test_a_caller_who_waits_for_a_worker_counts(desk: Any, worker: Any) -> None:
    """Who holds the line has been let in: the next one is over the limit, and the waiting one is placed later."""
    await limit(desk, "project", 1)
    worker.answer = "full"
    waiting, _ = new_call()
    assert (await verbs(desk, waiting))[-1] == "Redirect"
    assert await verbs(desk, new_call()[0]) == BUSY
    worker.answer = "accepted"
    assert await verbs(desk, waiting) == CONNECTED


@pytest.mark.parametrize("ending", ["worker", "never_answered", "worker_lost", "reaped"])
async def test_every_end_makes_room(desk: Any, worker: Any, ending: str) -> None:
    """A call makes room however it ends: by its worker, unanswered, with its worker, by the reaper."""
    await limit(desk, "project", 1)
    sid, call_id = new_call()
    assert await verbs(desk, sid) == CONNECTED
    plan = worker.offers[-1].plan
    if ending == "never_answered":
        await desk.says(sid, "no-answer")
    elif ending == "worker":
        await worker.opens(plan)
        await worker.closes(plan, CallState.COMPLETED, EndedReason.ASSISTANT_ENDED_CALL)
    elif ending == "worker_lost":
        await worker.opens(plan)
        await desk.becomes(call_id, status="in_progress")
        desk.rest.answers.append((404, {"code": 20404, "message": "gone"}))
        await desk.execute(
            "update epochs set worker = %s where call_id = %s", ids.mint(ids.WORKER), ids.parsed(ids.CALL, call_id)
        )
    else:
        desk.rest.answers.append((404, {"code": 20404, "message": "gone"}))
        await desk.execute(
            "update calls set created_at = now() - interval '2 min' where id = %s", ids.parsed(ids.CALL, call_id)
        )
    await desk.comes_true(lambda: _is_empty(desk), timeout_s=20)
    assert await verbs(desk, new_call()[0]) == CONNECTED


async def test_what_redis_forgot_is_counted_again(desk: Any, worker: Any) -> None:
    """After Redis lost everything the next renewal has the count back; what ended meanwhile is not counted."""
    await limit(desk, "number", 2)
    (first, first_id), (second, _) = new_call(), new_call()
    assert await verbs(desk, first) == await verbs(desk, second) == CONNECTED
    redis = desk.plane.redis
    forgotten = [key async for key in redis.scan_iter(f"tc:{{{desk.project_id}}}:calls*")]
    assert len(forgotten) == 3
    await redis.delete("tc:calls:renewed", *forgotten)
    await concurrency.renew(desk.plane.database.pool, redis)
    assert await verbs(desk, new_call()[0]) == BUSY
    await desk.says(first, "completed", CallDuration="2")
    await desk.becomes(first_id, status="completed")
    assert await verbs(desk, new_call()[0]) == CONNECTED


async def test_a_slot_that_nobody_let_go_of_frees_itself(desk: Any, worker: Any) -> None:
    """A call that has no row, since its transaction failed, counts until its lease ends and not longer."""
    await limit(desk, "project", 1)
    redis = desk.plane.redis
    key = f"tc:{{{desk.project_id}}}:calls"
    seconds, _ = await redis.time()
    await redis.zadd(key, {uuid4().hex: (seconds + 60) * 1000})
    assert await verbs(desk, new_call()[0]) == BUSY
    await redis.delete(key)
    await redis.zadd(key, {uuid4().hex: (seconds - 1) * 1000})
    assert await verbs(desk, new_call()[0]) == CONNECTED


async def test_without_redis_calls_are_counted_in_postgres(desk: Any, worker: Any) -> None:
    """With Redis away each limit holds all the same, and the one that is reached is named."""
    away = Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2)
    first, first_id = new_call()
    assert await verbs(desk, first) == CONNECTED
    second, second_id = new_call()
    worker.answer = "full"  # so that the second has a row and waits
    await desk.rings(second)
    await desk.execute("update calls set is_counted = false where id = %s", ids.parsed(ids.CALL, second_id))
    for scope in SCOPES:
        await limit(desk, scope, 1)
        async with desk.plane.database.pool.connection() as connection:
            reached = await concurrency.take(connection, away, second_id)
            assert str(reached) == f"the {scope} allows 1 calls at a time"
            with pytest.raises(TooManyCalls) as refusal:
                await concurrency.require(connection, away, second_id)
            assert refusal.value.headers["Retry-After"] == "5"
            assert await concurrency.take(connection, away, first_id) is None, "it counts already"
        await limit(desk, scope, None)
    await away.aclose()


async def test_no_limit_asks_nobody(desk: Any, worker: Any) -> None:
    """Without a limit a call does not wait for Redis, and is counted all the same."""
    sid, call_id = new_call()
    assert await verbs(desk, sid) == CONNECTED
    (counted,) = await desk.rows("select is_counted from calls where id = %s", ids.parsed(ids.CALL, call_id))
    assert counted == (True,)
