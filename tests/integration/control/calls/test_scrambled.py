"""Calls whose facts and callbacks are duplicated, reordered and dropped on their way: the projector and its rows."""

import asyncio
import os
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from msgspec import Struct

from turncall_bus.bus import Delivered
from turncall_control.calls import callbacks, settlement
from turncall_control.calls.callbacks import Callback
from turncall_control.calls.projector import NoSuchCall, Projector
from turncall_control.carriers.accounts import Proof
from turncall_proto import ids
from turncall_proto.call import FINAL
from turncall_proto.codec import encode
from turncall_proto.events import CallEvent, CallRinging, CarrierReported
from turncall_runtime.metrics import new_registry
from turncall_testkit.config import amounts
from turncall_testkit.histories import Disorder, History, disorders, histories

ACCOUNT = "AC" + "a" * 32
WAYS = (0, 1, 2)


class Row(Struct, frozen=True, kw_only=True):
    """What is left of a call when everything has arrived, without the moments at which it arrived."""

    status: str
    ended_reason: str | None
    epoch: int
    live_mark: tuple[int, int]
    end_mark: tuple[int, int]
    is_answered: bool
    started_at: datetime | None
    event_count: int
    missing_events: int
    facts: frozenset[tuple[str, int, int]]
    own_facts: dict[str, int]


@settings(
    max_examples=amounts(os.environ).test_stored_histories,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(), disorder=disorders())
async def test_every_order_gives_the_same_rows(desk: Any, worker: Any, history: History, disorder: Disorder) -> None:
    """One history arrives on three ways, each with its own order and repeats: the three calls end up the same."""
    begins = datetime.now(UTC) - timedelta(seconds=10)
    rows = await asyncio.gather(*(_stored(desk, worker, history, disorder, way, begins) for way in WAYS))
    assert rows[0] == rows[1] == rows[2]


async def _stored(desk: Any, worker: Any, history: History, disorder: Disorder, way: int, begins: datetime) -> Row:
    """Delivers a history to a call of its own; what arrives before the call has a row comes again."""
    sid = f"CA{uuid4().hex}"
    call_id = ids.inbound_call_id("twilio", ACCOUNT, sid)
    told = history.about(
        begins,
        call_id=call_id,
        project_id=desk.project_id,
        agent_id=desk.agent_id,
        version_id=desk.version_id,
        to_number=desk.number,
        provider_call_id=sid,
        worker=worker.id,
    )
    projector = Projector(desk.plane.database.pool, desk.bus, new_registry("control", "test"), ACCOUNT)
    arriving = deque(disorder.deliveries([fact for fact in told.facts if not isinstance(fact, CallRinging)], way))
    before = None
    while arriving:
        fact = arriving.popleft()
        if not await _taken(desk, projector, sid, fact):
            arriving.append(fact)
            continue
        if before is None:
            await desk.execute("update calls set left_epoch = %s where id = %s", history.left_epoch, _key(call_id))
        before = await _moved_on(desk, _key(call_id), before)
    return await _row(desk, _key(call_id))


async def _taken(desk: Any, projector: Projector, sid: str, fact: CallEvent) -> bool:
    """Whether one message found its call; a callback of the carrier comes as one, all else from the stream."""
    if isinstance(fact, CarrierReported):
        said = Callback(
            provider="twilio",
            proof=Proof(account=ACCOUNT, is_installations=True, holders=frozenset()),
            provider_call_id=sid,
            our_number=desk.number,
            status=fact.status,
            sequence_number=fact.sequence_number,
            duration_s=fact.duration_s,
            sip_code=fact.sip_code,
        )
        await callbacks.take(desk.plane, said)
        return bool(await desk.rows("select from calls where provider_call_id = %s", sid))
    try:
        await projector.project([Delivered(subject="", stream_seq=1, delivery=1, data=encode(fact))])
    except NoSuchCall:
        return False
    return True


async def _moved_on(desk: Any, call: str, before: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The call after a delivery, if that was no move out of a final state or back."""
    (after,) = await desk.rows("select status, live_mark, epoch, end_mark from calls where id = %s", call)
    if before is not None:
        assert before[0] not in FINAL or after[0] in FINAL
        assert before[0] == after[0] or before[0] not in FINAL or after[3][:2] > before[3][:2]
        assert after[1] >= before[1]
        assert after[2] >= before[2]
    return tuple(after)


async def _row(desk: Any, call: str) -> Row:
    """What is stored once the last word is said; then the call is nobody's business any more."""
    await desk.execute(
        "update calls set over_at = now() - interval '2 min' where id = %s and over_at is not null", call
    )

    async def is_concluded() -> bool:
        """A sweep of the control plane's own may hold the row: ours passes it by, and is made again."""
        await settlement.sweep(desk.plane.database.pool, desk.bus)
        states = "select status from calls where id = %s"
        ended = "select from call_events where call_id = %s and type = 'call.ended'"
        return (await desk.rows(states, call))[0][0] not in FINAL or bool(await desk.rows(ended, call))

    await desk.comes_true(is_concluded)
    await desk.execute("update calls set over_at = now(), settled_at = now() where id = %s", call)
    (row,) = await desk.rows(
        "select status, ended_reason, epoch, live_mark, end_mark, answered_at, started_at, event_count, missing_events"
        " from calls where id = %s",
        call,
    )
    facts = await desk.rows("select type, epoch, seq, call_seq from call_events where call_id = %s order by 4", call)
    assert [call_seq for *_, call_seq in facts] == list(range(1, len(facts) + 1))
    own_facts = Counter(kind for kind, epoch, *_ in facts if epoch == 0)
    assert own_facts["call.ended"] == (row[0] in FINAL)
    return Row(
        status=row[0],
        ended_reason=row[1],
        epoch=row[2],
        live_mark=tuple(row[3]) if row[3][0] else (0, 0),
        end_mark=tuple(row[4][:2]),
        is_answered=row[5] is not None,
        started_at=row[6],
        event_count=row[7],
        missing_events=row[8],
        facts=frozenset((kind, epoch, seq) for kind, epoch, seq, _ in facts if epoch),
        own_facts=dict(own_facts),
    )


def _key(call_id: str) -> str:
    return call_id.rpartition("_")[2]
