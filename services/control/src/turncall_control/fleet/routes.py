"""/v1/workers: the media workers that this replica hears, and draining one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from turncall_bus.bus import BusError
from turncall_control.auth import IN_PLATFORM, Permission, in_path, needs
from turncall_control.errors import NotFound, Unavailable
from turncall_control.fleet.schemas import DrainAsked, DrainTaken, WorkersSeen, WorkerView
from turncall_control.plane import Plane, Slice
from turncall_proto import ids, subjects
from turncall_proto.codec import decode, encode
from turncall_proto.command import CommandReply, DrainWorker
from turncall_proto.ids import WorkerId
from turncall_proto.placement import SUSPECT_AFTER_S, WorkerBeat

DRAIN_WITHIN_S: Final = 2.0
"""How long a worker has to take a drain on."""

_WORKER: Final = in_path("worker_id", ids.WORKER, within=IN_PLATFORM)


@get("/v1/workers", tags=["workers"], opt=needs(Permission.PLATFORM, IN_PLATFORM))
async def list_workers(plane: NamedDependency[Plane]) -> WorkersSeen:
    """The media workers, the fullest first; ended ones stay in the list for ten minutes, silent."""
    seen = sorted(plane.workers.seen(), key=lambda one: (one[0].pool, -one[0].slots_used, one[0].worker))
    return WorkersSeen(items=tuple(_view(beat, age_s) for beat, age_s in seen))


@post(
    "/v1/workers/{worker_id:str}/drain",
    status_code=200,
    tags=["workers"],
    opt=needs(Permission.PLATFORM, _WORKER, fails=[Unavailable]),
)
async def drain_worker(
    plane: NamedDependency[Plane], worker_id: FromPath[str], data: JSONBody[DrainAsked]
) -> DrainTaken:
    """Has a worker finish its calls and end, as SIGTERM does; what runs it may start a new one. It confirms at once.

    503 when it does not answer; asking again is safe.
    """
    worker = WorkerId(worker_id)
    if worker not in {beat.worker for beat, _ in plane.workers.seen()}:
        raise NotFound
    asked = DrainWorker(
        worker=worker,
        deadline=datetime.now(UTC) + timedelta(seconds=DRAIN_WITHIN_S),
        handover_after_s=data.handover_after_s,
    )
    try:
        answer = await plane.bus.ask(subjects.worker(worker), encode(asked), timeout_s=DRAIN_WITHIN_S)
    except BusError as error:
        raise Unavailable(f"the worker does not answer ({type(error).__name__}); it may have ended") from error
    if decode(answer, CommandReply).outcome != "done":
        raise Unavailable("the worker was asked too late")
    return DrainTaken(worker=worker)


def _view(beat: WorkerBeat, age_s: float) -> WorkerView:
    return WorkerView(
        id=beat.worker,
        pool=beat.pool,
        slots_total=beat.slots_total,
        slots_used=beat.slots_used,
        lag_ms=beat.lag_ms,
        cpu_share=beat.cpu_share,
        is_overloaded=beat.is_overloaded,
        is_draining=beat.is_draining,
        is_silent=age_s > SUSPECT_AFTER_S,
        last_beat_s=round(age_s, 1),
        version=beat.version,
        media_url=beat.media_url,
    )


FLEET: Final = Slice(name="fleet", routes=(list_workers, drain_worker))
