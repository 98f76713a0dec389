"""One kind of job from its row to its answer: sent to the queue, sent again when nothing comes, stored once."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from turncall_blobs import BlobError, keys
from turncall_bus.bus import BusError, Delivered
from turncall_control.duty import repeated
from turncall_control.plane import Plane
from turncall_proto import ids, subjects
from turncall_proto.codec import TooLarge, decode, encode
from turncall_proto.ids import CallId, JobId
from turncall_proto.job import Job, JobAnswer, JobFailed, Parcel
from turncall_runtime import logs

LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 20
AGAIN_AFTER_S: Final = 1800
"""A job without an answer for this long is sent anew: its message was lost with the stream, or parked."""
SENT_AT_MOST: Final = 3

Connection = AsyncConnection[TupleRow]
log = logs.logger(__name__)


class Due(Struct, frozen=True, kw_only=True):
    """A job that is to be sent."""

    id: UUID
    project_id: UUID
    call_id: UUID | None
    session_id: UUID | None
    document_id: UUID | None
    tries: int
    parcel_key: str | None

    @property
    def call(self) -> CallId | None:
        """The call that it is about, if it is about one."""
        return None if self.call_id is None else CallId(ids.written(ids.CALL, self.call_id))

    @property
    def job_id(self) -> JobId:
        """As the contract writes it."""
        return JobId(ids.written(ids.JOB, self.id))


class Kind[A: JobAnswer](Struct, frozen=True, kw_only=True):
    """What a slice does about its kind of job.

    ``plan`` makes the message, or None when there is nothing left to do it for. ``take`` stores the answer in the
    transaction that ends the job, and returns what is to be told after the commit.
    """

    name: str
    answer: type[A]
    plan: Callable[[Connection, Plane, Due], Awaitable[Job | None]]
    take: Callable[[Connection, Plane, Due, A | JobFailed], Awaitable[Callable[[], Awaitable[None]]]]


class Lane[A: JobAnswer]:
    """Sends the jobs of one kind and takes their answers. Replicas may run it at once."""

    def __init__(self, plane: Plane, kind: Kind[A]) -> None:
        self._plane = plane
        self._kind = kind

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Runs until left."""
        taking = await self._plane.bus.consume(
            subjects.TC_JOBS.name,
            f"answers-{self._kind.name}",
            self.take,
            subject=subjects.answers(self._kind.name),
        )
        try:
            async with repeated(f"{self._kind.name}_jobs", self.send, LOOK_EVERY_S):
                yield
        finally:
            await taking.close()

    async def send(self) -> None:
        """Sends what is due. A job whose message went out and whose row did not say so is sent again under its id."""
        if not self._plane.bus.is_connected:
            return
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            async with connection.cursor(row_factory=class_row(Due)) as cursor:
                await cursor.execute(
                    "select id, project_id, call_id, session_id, document_id, tries, parcel_key from jobs"
                    f" where kind = %s and state in ('due', 'sent') and due_at <= now() order by due_at limit {AT_ONCE}"
                    " for update skip locked",
                    (self._kind.name,),
                )
                due = await cursor.fetchall()
            for row in due:
                await self._send(connection, row)

    async def _send(self, connection: Connection, due: Due) -> None:
        if due.tries >= SENT_AT_MOST:
            await self._end(connection, due, "Nobody answered")
            return
        job = await self._kind.plan(connection, self._plane, due)
        if job is None:
            await self._end(connection, due, "There is nothing left that it could be done for")
            return
        try:
            message, parcel_key = await self._packed(job, due)
            await self._plane.bus.publish(
                subjects.job(self._kind.name), message, message_id=f"{due.job_id}.{due.tries}"
            )
        except (BusError, BlobError) as error:
            log.warning("job.not_sent", job_id=due.job_id, error=str(error))
            return
        await connection.execute(
            "update jobs set state = 'sent', tries = tries + 1, due_at = now() + %s * interval '1 second',"
            " parcel_key = %s where id = %s",
            (AGAIN_AFTER_S, parcel_key, due.id),
        )

    async def _packed(self, job: Job, due: Due) -> tuple[bytes, str | None]:
        """The message, and the key of what was too large for one, in the object store. Raises `BlobError`."""
        try:
            return encode(job), None
        except TooLarge:
            body = msgspec.json.encode(job)
        key = keys.job(job.project_id, due.call, job.job_id)
        await self._plane.blobs.put(key, body, "application/json")
        parcel = Parcel(job_id=job.job_id, key=key, sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body))
        return encode(parcel), key

    async def _end(self, connection: Connection, due: Due, why: str) -> None:
        log.error("job.given_up", job_id=due.job_id, kind=self._kind.name, why=why)
        await connection.execute(
            "update jobs set state = 'failed', ended_at = now(), detail = %s where id = %s", (why, due.id)
        )

    async def take(self, batch: Sequence[Delivered]) -> None:
        """Stores answers, each once: one of a job that has ended, or is gone, changes nothing."""
        for message in batch:
            answer: A | JobFailed = decode(message.data, self._kind.answer | JobFailed)  # type: ignore[arg-type]
            async with self._plane.database.pool.connection() as connection, connection.transaction():
                due = await self._ended(connection, answer, message.data)
                if due is None:
                    continue
                tell = await self._kind.take(connection, self._plane, due, answer)
            await tell()
            if due.parcel_key is not None:
                await self._plane.blobs.delete(due.parcel_key)

    async def _ended(self, connection: Connection, answer: JobAnswer, data: bytes) -> Due | None:
        failed = isinstance(answer, JobFailed)
        async with connection.cursor(row_factory=class_row(Due)) as cursor:
            await cursor.execute(
                "update jobs set state = %s, ended_at = now(), detail = %s, answer = %s::jsonb"
                " where id = %s and kind = %s and state in ('due', 'sent')"
                " returning id, project_id, call_id, session_id, document_id, tries, parcel_key",
                (
                    "failed" if failed else "done",
                    answer.detail if isinstance(answer, JobFailed) else "",
                    data.decode().replace("\\u0000", "\\ufffd"),
                    ids.parsed(ids.JOB, answer.job_id),
                    self._kind.name,
                ),
            )
            return await cursor.fetchone()
