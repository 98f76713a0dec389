"""What workers may delete from their disks, and what they must publish again."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

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

        ``settled``: the call is settled and everything the worker holds is stored. ``missing``: holes below the last
        stored fact, and for a call that is over also what lies after it; facts still under way are not asked for.
        Epochs that are neither, and those of calls without a row, are left out: the worker keeps them and asks again.
        """
        asked = decode(data, SettlementAsked).epochs[:_EPOCHS_AT_ONCE]
        async with self._pool.connection() as connection:
            known = await _known(connection, asked)
            settled, missing, room = [], [], NAMED_AT_ONCE
            for spooled in asked:
                found = known.get((spooled.call_id, spooled.epoch))
                if found is None:
                    continue
                is_over, is_settled, seen, known_seq = found
                if is_settled and seen >= spooled.last_seq:
                    settled.append(spooled)
                upto = spooled.last_seq if is_over else min(spooled.last_seq, known_seq)
                if seen < upto and room:
                    seqs = await _absent(connection, spooled, upto, room)
                    room -= len(seqs)
                    missing.append(MissingFacts(call_id=spooled.call_id, epoch=spooled.epoch, seqs=seqs))
        return encode(SettlementAnswered(settled=tuple(settled), missing=tuple(missing)))


async def _known(
    connection: AsyncConnection[TupleRow], asked: Sequence[SpooledEpoch]
) -> dict[tuple[CallId, int], tuple[bool, bool, int, int]]:
    """Of each epoch whose call has a row: is the call over, is it settled, facts stored, facts known to exist."""
    cursor = await connection.execute(
        "select c.id, a.epoch, c.over_at is not null, c.settled_at is not null,"
        " coalesce(e.seen, 0), coalesce(e.known_seq, 0)"
        " from unnest(%s::uuid[], %s::int[]) as a (call_id, epoch) join calls c on c.id = a.call_id"
        " left join epochs e on e.call_id = a.call_id and e.epoch = a.epoch",
        ([ids.parsed(ids.CALL, spooled.call_id) for spooled in asked], [spooled.epoch for spooled in asked]),
    )
    return {
        (CallId(ids.written(ids.CALL, call)), epoch): (is_over, is_settled, seen, known_seq)
        for call, epoch, is_over, is_settled, seen, known_seq in await cursor.fetchall()
    }


async def _absent(
    connection: AsyncConnection[TupleRow], spooled: SpooledEpoch, upto: int, limit: int
) -> tuple[int, ...]:
    cursor = await connection.execute(
        "select n from generate_series(1, %(upto)s) as n where not exists ("
        " select from call_events where call_id = %(call)s and epoch = %(epoch)s and seq = n)"
        " order by n limit %(limit)s",
        {
            "upto": upto,
            "call": ids.parsed(ids.CALL, spooled.call_id),
            "epoch": spooled.epoch,
            "limit": limit,
        },
    )
    return tuple(n for (n,) in await cursor.fetchall())
