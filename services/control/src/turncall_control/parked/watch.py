"""How full the streams are, and whether messages lie parked: as metrics, and in the log when somebody has to act."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from turncall_bus.bus import Bus, BusError, Fill
from turncall_control.duty import repeated
from turncall_control.plane import Plane
from turncall_proto.subjects import STREAMS, TC_DEAD, StreamSpec
from turncall_runtime import logs

LOOK_EVERY_S: Final = 5.0
FULL_FROM: Final = 0.7
"""The share of a stream's cap from which on it is an operator's affair: a full stream refuses facts."""

log = logs.logger(__name__)


class Streams:
    """Looks at every stream of the bus. Every replica shows the same figures."""

    def __init__(self, bus: Bus, registry: CollectorRegistry, specs: Sequence[StreamSpec] = STREAMS) -> None:
        def gauge(name: str, description: str) -> Gauge:
            return Gauge(f"turncall_{name}", description, ["stream"], registry=registry)

        self._bus = bus
        self._specs = specs
        self._messages = gauge("stream_messages", "Messages that a stream holds; those of TC_DEAD are parked.")
        self._share = gauge("stream_filled_share", "How much of its cap a stream uses; at 1 it refuses messages.")
        self._filling: set[str] = set()
        self._parked = 0

    async def look(self) -> None:
        """Reads the figures; while the bus is away they stay as they were."""
        for spec in self._specs:
            try:
                fill = await self._bus.fill(spec.name)
            except BusError as error:
                log.debug("streams.unseen", stream=spec.name, error=str(error))
                return
            self._messages.labels(spec.name).set(fill.messages)
            self._share.labels(spec.name).set(fill.size_bytes / spec.max_bytes)
            self._judge(spec, fill)

    def _judge(self, spec: StreamSpec, fill: Fill) -> None:
        if spec == TC_DEAD:
            if fill.messages > self._parked:
                log.error(
                    "messages.parked", parked=fill.messages, hint="turncall parked list, then replay or drop them"
                )
            self._parked = fill.messages
        share = fill.size_bytes / spec.max_bytes
        if share < FULL_FROM:
            self._filling.discard(spec.name)
        elif spec.name not in self._filling:
            self._filling.add(spec.name)
            log.error("stream.filling", stream=spec.name, share=round(share, 2), hint="does its consumer keep up?")


@asynccontextmanager
async def watch_streams(plane: Plane) -> AsyncIterator[None]:
    """Looks at the streams for as long as the process runs."""
    async with repeated("streams", Streams(plane.bus, plane.metrics).look, LOOK_EVERY_S):
        yield
