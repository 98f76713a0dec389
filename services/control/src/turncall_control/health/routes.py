"""/health, /ready, /metrics."""

import asyncio
from typing import Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from msgspec import Struct
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from turncall_control import __version__
from turncall_control.auth import NOTHING, Permission, needs
from turncall_control.db.failures import FAILURES
from turncall_control.plane import Plane, Slice
from turncall_runtime import metrics

PROBE_WITHIN_S: Final = 1.0
_OPEN: Final = needs(Permission.OPEN, NOTHING)


class Alive(Struct, frozen=True, kw_only=True):
    """The process answers."""

    version: str


class Readiness(Struct, frozen=True, kw_only=True):
    """What this process reaches. It serves without the bus and without Redis, not without the database."""

    is_ready: bool
    database: bool
    bus: bool
    redis: bool


@get("/health", tags=["health"], opt=_OPEN)
async def get_health() -> Alive:
    """Answers as long as the process runs."""
    return Alive(version=__version__)


@get("/ready", tags=["health"], opt=_OPEN)
async def get_readiness(plane: NamedDependency[Plane]) -> Response[Readiness]:
    """200 while the database answers, 503 otherwise; the other parts are told, and do not decide."""
    database, redis = await asyncio.gather(_database_answers(plane), _redis_answers(plane))
    told = Readiness(is_ready=database, database=database, bus=plane.bus.is_connected, redis=redis)
    return Response(told, status_code=HTTP_200_OK if told.is_ready else HTTP_503_SERVICE_UNAVAILABLE)


@get("/metrics", tags=["health"], media_type="text/plain", opt=_OPEN)
async def get_metrics(request: Request[None, None, State], state: State) -> Response[bytes]:
    """This process's counters, for Prometheus."""
    registry: CollectorRegistry = state.metrics
    page = metrics.page(registry, request.headers.get("accept", ""))
    return Response(page.body, media_type=page.content_type)


async def _database_answers(plane: Plane) -> bool:
    try:
        async with asyncio.timeout(PROBE_WITHIN_S), plane.database.pool.connection() as connection:
            await connection.execute("select 1")
    except (*FAILURES, TimeoutError):
        return False
    return True


async def _redis_answers(plane: Plane) -> bool:
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            await plane.redis.ping()
    except (RedisError, OSError, TimeoutError):
        return False
    return True


HEALTH: Final = Slice(name="health", routes=(get_health, get_readiness, get_metrics))
