"""Giving a live call to another agent: the next epoch is the same worker's, on the same stream, with the other's plan.

The step is stored before the worker hears of it. Whoever goes on with the call from there on, on that worker or after
its death, goes on with the other agent.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec.structs import replace
from psycopg.types.json import Jsonb

from turncall_control.calls import ledger, lookup
from turncall_control.calls.ledger import Connection, Ledger
from turncall_control.calls.plans import plan
from turncall_control.plane import Plane
from turncall_control.routing import Published
from turncall_proto import ids
from turncall_proto.call import CallStart, Handoff
from turncall_proto.codec import TooLarge, decode, encode
from turncall_proto.command import HandoffAsked, HandoffReply
from turncall_proto.ids import AgentId
from turncall_runtime import logs

MOST: Final = 10
"""In one call: agents that send a caller round and round are stopped, and the one who has the caller keeps them."""

log = logs.logger(__name__)


class Handoffs:
    """Answers workers who ask for the plan with which another agent goes on."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def answer(self, data: bytes) -> bytes:
        """Serves the act ``handoff``. A repeat gets the same plan, made again."""
        asked = decode(data, HandoffAsked)
        try:
            return encode(await self._decided(asked))
        except TooLarge:
            return encode(HandoffReply(plan=None, detail="its plan is too large to travel"))

    async def _decided(self, asked: HandoffAsked) -> HandoffReply:
        if asked.deadline < datetime.now(UTC):
            return HandoffReply(plan=None, detail="late")
        target = await lookup.published(self._plane.database.pool, asked.project_id, asked.agent_id)
        if target is None:
            return HandoffReply(plan=None, detail="the project has no such agent with a published version")
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            call = (await ledger.lock(connection, [asked.call_id])).get(asked.call_id)
            if call is None or call.project_id != asked.project_id:
                return HandoffReply(plan=None, detail="there is no such call")
            if not await _is_done(connection, asked):
                refusal = await _refusal(connection, call, asked)
                if refusal:
                    log.warning("handoff.refused", call_id=call.call_id, epoch=asked.epoch, why=refusal)
                    return HandoffReply(plan=None, detail=refusal)
                await _step(connection, call, asked, target)
            made = await plan(connection, self._plane, asked.call_id, asked.epoch + 1)
        log.info("call.handed_off", call_id=asked.call_id, epoch=asked.epoch + 1, agent_id=target.agent_id)
        return HandoffReply(plan=_kept(made, asked))


def _kept(made: CallStart | None, asked: HandoffAsked) -> CallStart | None:
    return None if made is None else replace(made, offered_to=asked.worker)


async def _is_done(connection: Connection, asked: HandoffAsked) -> bool:
    """Whether the step was made already, for this very question."""
    cursor = await connection.execute(
        "select handoff_act from epochs where call_id = %s and epoch = %s",
        (ids.parsed(ids.CALL, asked.call_id), asked.epoch + 1),
    )
    return await cursor.fetchone() == (asked.act_id,)


async def _refusal(connection: Connection, call: Ledger, asked: HandoffAsked) -> str:
    """Why the step cannot be made; empty when it can."""
    standing = call.standing
    if standing.is_final or standing.end_intended:
        return "the call is ending"
    if asked.epoch != standing.epoch or asked.epoch <= standing.left_epoch:
        return f"the call has left epoch {asked.epoch}"
    cursor = await connection.execute(
        "select count(*) from epochs where call_id = %s and handoff is not null",
        (ids.parsed(ids.CALL, call.call_id),),
    )
    counted = await cursor.fetchone()
    return f"it went from agent to agent {MOST} times" if counted and counted[0] >= MOST else ""


async def _step(connection: Connection, call: Ledger, asked: HandoffAsked, target: Published) -> None:
    """Makes the next epoch this worker's and the call the other agent's, under the call's lock."""
    row, project = ids.parsed(ids.CALL, call.call_id), ids.parsed(ids.PROJECT, call.project_id)
    cursor = await connection.execute("select agent_id from calls where id = %s", (row,))
    (before,) = await cursor.fetchone() or (None,)
    handoff = Handoff(
        from_epoch=asked.epoch,
        from_agent_id=None if before is None else AgentId(ids.written(ids.AGENT, before)),
        reason=asked.reason,
    )
    await connection.execute(
        "update calls set agent_id = %s, version_id = %s, inline_agent = null, epoch = %s where id = %s",
        (ids.parsed(ids.AGENT, target.agent_id), ids.parsed(ids.VERSION, target.version_id), asked.epoch + 1, row),
    )
    await connection.execute(
        "insert into epochs (call_id, project_id, epoch, worker, handoff, handoff_act) values (%s, %s, %s, %s, %s, %s)"
        " on conflict (call_id, epoch) do update set worker = excluded.worker, handoff = excluded.handoff,"
        " handoff_act = excluded.handoff_act",
        (row, project, asked.epoch + 1, asked.worker, Jsonb(msgspec.to_builtins(handoff)), asked.act_id),
    )


async def on_its_stream(connection: Connection, call: Ledger, epoch: int) -> int:
    """The last epoch served on the stream of ``epoch``: another agent's follows without a stream of its own."""
    cursor = await connection.execute(
        "select coalesce(min(epoch) filter (where handoff is null) - 1, max(epoch)) from epochs"
        " where call_id = %s and epoch > %s",
        (ids.parsed(ids.CALL, call.call_id), epoch),
    )
    found = await cursor.fetchone()
    return found[0] if found and found[0] is not None else epoch
