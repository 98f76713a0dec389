"""What is posted: type, moment and data of an event, the same bytes in every attempt."""

from datetime import datetime
from typing import Annotated, Any, Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct
from psycopg.rows import class_row, dict_row

from turncall_control.webhooks.fanout import CALL_END
from turncall_control.webhooks.queue import Connection, Taken
from turncall_proto import ids

_CALL: Final[LiteralString] = (
    "select agent_id, version_id, number_id, channel, direction, from_number, to_number, provider, provider_call_id,"
    " metadata, created_at, answered_at, started_at, ended_at from calls where id = %s"
)
_SAID: Final[LiteralString] = """
    select payload ->> 'speaker' as speaker, payload ->> 'text' as text, epoch, (payload ->> 'turn')::int as turn,
        (payload ->> 'start_ms')::int as start_ms, (payload ->> 'end_ms')::int as end_ms,
        coalesce((payload ->> 'is_interrupted')::bool, false) as is_interrupted
    from call_events where call_id = %s and type = 'transcript.final'
    order by epoch, (payload ->> 'start_ms')::int, seq
"""


class Said(Struct, frozen=True, kw_only=True):
    """One utterance of the transcript that goes with a call's end."""

    speaker: str
    text: str
    epoch: int
    turn: int
    start_ms: int
    end_ms: int
    is_interrupted: bool


class Body(Struct, frozen=True, kw_only=True):
    """The whole request body, as Standard Webhooks lays it out."""

    type: str
    timestamp: Annotated[datetime, Meta(description="When it happened, not when it was sent.")]
    data: Any


async def body_of(connection: Connection, taken: Taken) -> bytes:
    """The JSON of a delivery that has its ``data``.

    A call's event is its fact with ``call_seq``; its end comes with what the call's record says of it, and, for the
    agent's own server, with the transcript.
    """
    if taken.call_id is None:
        return _written(taken, Raw((taken.data or "null").encode()))
    fact: dict[str, Any] = msgspec.json.decode(taken.data or "{}")
    fact.pop("type", None)
    data = {"call_id": fact.pop("call_id", None), "call_seq": taken.call_seq, **fact}
    if taken.type in ("call.ended", CALL_END):
        data["call"] = await _call(connection, taken.call_id)
    if taken.type == CALL_END:
        async with connection.cursor(row_factory=class_row(Said)) as cursor:
            await cursor.execute(_SAID, (taken.call_id,))
            data["transcript"] = await cursor.fetchall()
    return _written(taken, data)


def _written(taken: Taken, data: Any) -> bytes:
    return msgspec.json.encode(Body(type=taken.type, timestamp=taken.at, data=data))


async def _call(connection: Connection, call_id: UUID) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_CALL, (call_id,))
        row = await cursor.fetchone() or {}
    prefixes = {"agent_id": ids.AGENT, "version_id": ids.VERSION, "number_id": ids.NUMBER}
    return {
        name: ids.written(prefixes[name], value) if name in prefixes and value is not None else value
        for name, value in row.items()
    }
