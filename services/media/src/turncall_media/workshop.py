"""The pool ``text`` of one process: takes jobs off the queue, has them done, and answers each."""

import asyncio
import hashlib
from typing import Final

import msgspec
from prometheus_client import Counter

from turncall_bus.bus import Delivered, Postponed, Refused, Subscription
from turncall_media.jobs.shape import Desk, JobModule, JobPostponed, JobRefused, module_of, tag_of
from turncall_media.text.tally import Tally
from turncall_proto import subjects
from turncall_proto.codec import MalformedMessage, encode
from turncall_proto.job import ALL_JOBS, Job, JobAnswer, JobFailed, Parcel
from turncall_runtime import logs

LEASE_S: Final = 6.0
"""After how long another worker begins with what a dead one had in hand."""
PAUSES_S: Final = (2.0, 15.0, 60.0, 300.0)
"""Between the tries of a job; after the last one it has failed. A vendor's bad minute is waited out, no bad hour."""
LOOK_AGAIN_S: Final = 0.5
JOB_WITHIN_S: Final = 600.0
LONGEST_DETAIL: Final = 2000

_log = logs.logger(__name__)


class Workshop:
    """Works jobs of every kind off, ``at_once`` of each side by side."""

    def __init__(self, desk: Desk, at_once: int, done: Counter) -> None:
        self._desk = desk
        self._at_once = at_once
        self._done = done
        self._lanes: list[Subscription] = []
        self.busy = 0

    @property
    def places(self) -> int:
        """Jobs at once, of all kinds."""
        return self._at_once * len(ALL_JOBS)

    async def open(self) -> None:
        """Begins to take jobs. The control plane makes their queue: a worker that is up before it waits."""
        for kind in ALL_JOBS:
            while True:
                try:
                    self._lanes.append(await self._lane(kind))
                    break
                except Refused as error:
                    _log.warning("jobs.wait", why=str(error))
                    await asyncio.sleep(LOOK_AGAIN_S)

    async def _lane(self, kind: type[Job]) -> Subscription:
        return await self._desk.bus.work(
            subjects.TC_JOBS.name,
            f"jobs-{tag_of(kind)}",
            _Lane(kind, self).work,
            subject=subjects.job(tag_of(kind)),
            at_once=self._at_once,
            lease_s=LEASE_S,
        )

    async def close(self, within_s: float) -> None:
        """Takes nothing more on. What is in hand is finished within this time, or given back. Safe to call twice."""
        try:
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as closing:
                for lane in self._lanes:
                    closing.create_task(lane.close())
        except TimeoutError:
            _log.warning("jobs.given_back", jobs=self.busy)

    async def do(self, kind: type[Job], module: JobModule, message: Delivered) -> None:
        """One delivery of one job, answered before it returns. Raises `Postponed` to have it tried again."""
        self.busy += 1
        tally = Tally(is_repeat=message.delivery > 1)
        job: Job | None = None
        try:
            job = await self._unpacked(kind, message.data)
            with logs.bound(job_id=job.job_id):
                async with asyncio.timeout(JOB_WITHIN_S):
                    answer = await module.run(job, self._desk, tally)
        except MalformedMessage:
            raise  # nobody can be answered: it is parked
        except JobRefused as refusal:
            answer = self._failed(job, tally, str(refusal), refusal.reason)
        except Exception as error:
            why = str(error) if isinstance(error, JobPostponed) else type(error).__name__
            if not isinstance(error, JobPostponed):
                _log.exception("job.broke", kind=tag_of(kind))
            if job is None or message.delivery <= len(PAUSES_S):
                _log.warning("job.postponed", kind=tag_of(kind), delivery=message.delivery, why=why)
                raise Postponed(PAUSES_S[min(message.delivery, len(PAUSES_S)) - 1]) from error
            _log.error("job.failed", kind=tag_of(kind), job_id=job.job_id, why=why)
            answer = self._failed(job, tally, f"It was tried {message.delivery} times: {why}")
        finally:
            self.busy -= 1
        await self._answer(kind, answer)

    def _failed(self, job: Job | None, tally: Tally, detail: str, reason: str = "") -> JobFailed:
        assert job is not None  # only a job that was read can be refused
        return JobFailed(
            job_id=job.job_id,
            project_id=job.project_id,
            at=self._desk.now(),
            used=tally.used,
            detail=detail[:LONGEST_DETAIL],
            reason=reason,
        )

    async def _answer(self, kind: type[Job], answer: JobAnswer) -> None:
        await self._desk.bus.publish(
            subjects.answers(tag_of(kind)), encode(answer), message_id=f"{answer.job_id}.answer", timeout_s=5.0
        )
        self._done.labels(tag_of(kind), "failed" if isinstance(answer, JobFailed) else "done").inc()

    async def _unpacked(self, kind: type[Job], data: bytes) -> Job:
        """The job, from the object store if it was too large to travel. Raises `MalformedMessage`, `BlobError`."""
        job = _decoded(data, kind | Parcel)
        if isinstance(job, Parcel):
            body = await self._desk.blobs.read(job.key)
            if hashlib.sha256(body).hexdigest() != job.sha256:
                raise MalformedMessage(f"the body of {job.job_id} is not the one that was sent")
            job = _decoded(body, kind)
        assert isinstance(job, Job)
        return job


class _Lane:
    """One kind of job."""

    def __init__(self, kind: type[Job], workshop: Workshop) -> None:
        self._kind = kind
        self._module = module_of(kind)
        self._workshop = workshop

    async def work(self, message: Delivered) -> None:
        await self._workshop.do(self._kind, self._module, message)


def _decoded(data: bytes, kind: object) -> Job | Parcel:
    try:
        job: Job | Parcel = msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"job: {error}") from error
    return job
