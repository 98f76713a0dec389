"""Recordings that no worker told of: what the store holds of epochs whose worker was lost is stated by control.

Parts reach the store while a call runs, and from the disk of a worker that died as soon as another process starts on
it, which may be much later: so control looks several times, and says again what it found when more has come.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from turncall_blobs import BlobError, BlobStore, keys
from turncall_bus.bus import Bus
from turncall_control.calls import ledger, news
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.ledger import Connection
from turncall_control.calls.recording import BYTES_PER_FRAME, WAV_HEADER_BYTES, rate_of
from turncall_control.db.engine import Pool
from turncall_control.shelves import Shelves
from turncall_proto import ids
from turncall_proto.events import RecordingPart, RecordingReady
from turncall_proto.ids import CallId, ProjectId
from turncall_runtime import logs

LOOKS: Final = tuple(timedelta(seconds=after_s) for after_s in (5, 60, 600, 7200, 86_400))
"""When parts are looked for, after the last word on the call was said."""
OWN_WORD_WITHIN: Final = timedelta(seconds=90)
"""How long a worker that may live has to tell of its recording itself: its store may be slow."""
AT_ONCE: Final = 20

_TAG: Final = str(RecordingReady.__struct_config__.tag)

log = logs.logger(__name__)


class Unstated(Struct, frozen=True, kw_only=True):
    """A call with epochs of which no worker said that their recording is stored; ``found`` is what control said."""

    call_id: CallId
    project_id: ProjectId
    epochs: frozenset[int]
    found: dict[int, tuple[RecordingPart, ...]]


async def sweep(pool: Pool, shelves: Shelves, bus: Bus) -> None:
    """Looks after up to `AT_ONCE` calls that are due, and states what was found. A repeat finds nothing new.

    Replicas may sweep at once. A store that is away only postpones: the next look is due.
    """
    async with pool.connection() as connection, connection.transaction():
        calls = await _take_due(connection)
    for call in calls:
        try:
            async with shelves.of(call.project_id) as blobs:
                await _look_after(pool, blobs, bus, call)
        except BlobError as error:
            log.warning("salvage.postponed", call_id=call.call_id, error=str(error))


async def _look_after(pool: Pool, blobs: BlobStore, bus: Bus, call: Unstated) -> None:
    """States what is stored of a call's unstated epochs. Raises `BlobError`."""
    stored = await _stored(blobs, call)
    for epoch in sorted(stored):
        is_known = tuple(part.key for part in call.found.get(epoch, ())) == stored[epoch]
        if not is_known and (ready := await _ready(blobs, call, epoch, stored[epoch])) is not None:
            await _state(pool, bus, call, ready)


async def _take_due(connection: Connection) -> list[Unstated]:
    """Calls that are due, each with its next look, if it needs one: some epoch is over and its recording unstated."""
    cursor = await connection.execute(
        "with due as ("
        " select id from calls where recording_due <= now() order by recording_due limit %(limit)s"
        "  for update skip locked),"
        " unstated as ("
        " select e.call_id, array_agg(e.epoch) filter (where e.closed_seq is not null or e.lost_at is not null"
        "   or c.concluded_at < now() - %(patience)s) as over"
        " from due join calls c using (id) join epochs e on e.call_id = c.id and e.opened_at is not null"
        " left join agent_versions v on v.id = c.version_id"
        " where c.recording_swept_at is null"
        "  and coalesce(coalesce(c.inline_agent, v.config)->>'recording', 'on') <> 'off'"
        "  and not exists (select from call_events r where r.call_id = c.id and r.epoch = e.epoch and r.type = %(tag)s)"
        " group by e.call_id)"
        " update calls c set recording_due = case when unstated.call_id is not null then ("
        "  select min(c.concluded_at + after) from unnest(%(looks)s::interval[]) as after"
        "  where c.concluded_at + after > now()) end"
        " from due left join unstated on unstated.call_id = due.id where c.id = due.id"
        " returning c.id, c.project_id, unstated.over",
        {"limit": AT_ONCE, "patience": OWN_WORD_WITHIN, "looks": list(LOOKS), "tag": _TAG},
    )
    due = [(call, project, over) for call, project, over in await cursor.fetchall() if over]
    found = await _found(connection, [call for call, _, _ in due])
    return [
        Unstated(
            call_id=CallId(ids.written(ids.CALL, call)),
            project_id=ProjectId(ids.written(ids.PROJECT, project)),
            epochs=frozenset(over),
            found=found.get(call, {}),
        )
        for call, project, over in due
    ]


async def _found(connection: Connection, calls: Sequence[UUID]) -> dict[UUID, dict[int, tuple[RecordingPart, ...]]]:
    """What control has said of these calls' recordings: of each epoch the newest."""
    cursor = await connection.execute(
        "select call_id, (payload->>'of_epoch')::int, payload->'parts' from call_events"
        " where call_id = any(%s) and epoch = 0 and type = %s order by seq",
        (calls, _TAG),
    )
    found: dict[UUID, dict[int, tuple[RecordingPart, ...]]] = {}
    for call, epoch, parts in await cursor.fetchall():
        found.setdefault(call, {})[epoch] = msgspec.convert(parts, tuple[RecordingPart, ...])
    return found


async def _stored(blobs: BlobStore, call: Unstated) -> dict[int, tuple[str, ...]]:
    """The keys of the parts of the call's unstated epochs, in the order of the sound. Raises `BlobError`."""
    stored: dict[int, tuple[str, ...]] = {}
    async for key in blobs.keys(keys.recording(call.project_id, call.call_id)):
        epoch = keys.part_epoch(key)
        if epoch in call.epochs:
            stored[epoch] = (*stored.get(epoch, ()), key)
    return stored


async def _ready(blobs: BlobStore, call: Unstated, epoch: int, stored: Sequence[str]) -> RecordingReady | None:
    """What the store holds of one epoch; None when it cannot be played. Raises `BlobError`."""
    rate_hz = rate_of(await blobs.read(stored[0], 0, WAV_HEADER_BYTES))
    if rate_hz is None:
        log.error("recording.unreadable", call_id=call.call_id, key=stored[0], hint="it is no WAV file")
        return None
    parts = [await _part(blobs, key, rate_hz) for key in stored]
    return RecordingReady(
        call_id=call.call_id,
        project_id=call.project_id,
        epoch=0,
        seq=UNNUMBERED,
        at=datetime.now(UTC),
        rate_hz=rate_hz,
        duration_ms=sum(part.duration_ms for part in parts),
        parts=tuple(parts),
        of_epoch=epoch,
        is_whole=False,
    )


async def _part(blobs: BlobStore, key: str, rate_hz: int) -> RecordingPart:
    size_bytes = (await blobs.stat(key)).size_bytes
    frames = max(0, size_bytes - WAV_HEADER_BYTES) // BYTES_PER_FRAME
    return RecordingPart(key=key, size_bytes=size_bytes, duration_ms=1000 * frames // rate_hz)


async def _state(pool: Pool, bus: Bus, call: Unstated, ready: RecordingReady) -> None:
    """Stores the statement, unless the call was erased meanwhile."""
    async with pool.connection() as connection, connection.transaction():
        calls = await ledger.lock(connection, [call.call_id])
        if call.call_id not in calls:
            return
        appended = await ledger.append(connection, calls, [own(ready)])
    log.warning("recording.salvaged", call_id=call.call_id, of_epoch=ready.of_epoch, duration_ms=ready.duration_ms)
    await news.publish(bus, appended)
