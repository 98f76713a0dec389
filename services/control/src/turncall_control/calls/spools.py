"""What workers may delete from their disks, and what they must publish again."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from turncall_control.calls import erasing
from turncall_control.db.engine import Pool
from turncall_proto import ids
from turncall_proto.codec import decode, encode
from turncall_proto.command import MissingFacts, SettlementAnswered, SettlementAsked, SpooledEpoch
from turncall_proto.ids import CallId

NAMED_AT_ONCE: Final = 1000
"""Missing facts named in one answer; the worker asks again for the rest."""
_EPOCHS_AT_ONCE: Final = 2000


class Spools:
    """Serves the act ``settlement``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def answer(self, data: bytes) -> bytes:
        """Tells of each spooled epoch whether it is safe, or which of its facts have not been stored.

        ``settled``: the call is settled and everything the worker holds is stored, or the call was erased. ``missing``:
        facts without a row; a worker asks about epochs it has ended, so all of them are published, and publishing again
        is harmless. Epochs that are neither, and those of other calls without a row, are left out: the worker keeps
        them and asks again.
        """
        asked = decode(data, SettlementAsked).epochs[:_EPOCHS_AT_ONCE]
        async with self._pool.connection() as connection:
            known = await _known(connection, asked)
            strangers = {spooled.call_id for spooled in asked} - {call_id for call_id, _ in known}
            erased = await erasing.erased_among(connection, strangers)
            settled, missing, room = [], [], NAMED_AT_ONCE
            for spooled in asked:
                found = known.get((spooled.call_id, spooled.epoch))
                if found is None:
                    if spooled.call_id in erased:
                        settled.append(spooled)
                    continue
                is_settled, seen = found
                if seen >= spooled.last_seq:
                    if is_settled:
                        settled.append(spooled)
                elif room:
                    seqs = await _absent(connection, spooled, room)
                    room -= len(seqs)
                    missing.append(MissingFacts(call_id=spooled.call_id, epoch=spooled.epoch, seqs=seqs))
        return encode(SettlementAnswered(settled=tuple(settled), missing=tuple(missing)))


async def _known(
    connection: AsyncConnection[TupleRow], asked: Sequence[SpooledEpoch]
) -> dict[tuple[CallId, int], tuple[bool, int]]:
    """Of each epoch whose call has a row: is the call settled, and how many facts of the epoch are stored."""
    cursor = await connection.execute(
        "select c.id, a.epoch, c.settled_at is not null, coalesce(e.seen, 0)"
        " from unnest(%s::uuid[], %s::int[]) as a (call_id, epoch) join calls c on c.id = a.call_id"
        " left join epochs e on e.call_id = a.call_id and e.epoch = a.epoch",
        ([ids.parsed(ids.CALL, spooled.call_id) for spooled in asked], [spooled.epoch for spooled in asked]),
    )
    return {
        (CallId(ids.written(ids.CALL, call)), epoch): (is_settled, seen)
        for call, epoch, is_settled, seen in await cursor.fetchall()
    }


async def _absent(connection: AsyncConnection[TupleRow], spooled: SpooledEpoch, limit: int) -> tuple[int, ...]:
    cursor = await connection.execute(
        "select n from generate_series(1, %(upto)s) as n where not exists ("
        " select from call_events where call_id = %(call)s and epoch = %(epoch)s and seq = n)"
        " order by n limit %(limit)s",
        {
            "upto": spooled.last_seq,
            "call": ids.parsed(ids.CALL, spooled.call_id),
            "epoch": spooled.epoch,
            "limit": limit,
        },
    )
    return tuple(n for (n,) in await cursor.fetchall())
