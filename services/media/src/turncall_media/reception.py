"""Takes each admitted socket to a call, and knows which calls are live."""

import asyncio
from typing import Final

from turncall_media.ingress.capacity import Capacity
from turncall_media.seams import MediaSocket
from turncall_media.session import CallSession, Station
from turncall_proto.call import EndedReason
from turncall_proto.ids import CallId

_LOOK_AGAIN_S: Final = 0.05


class Reception:
    """The owner of every call of this worker."""

    def __init__(self, capacity: Capacity, station: Station) -> None:
        self._capacity = capacity
        self._station = station
        self._live: dict[CallSession, asyncio.Task[None] | None] = {}

    async def receive(self, socket: MediaSocket, call_id: CallId, epoch: int) -> None:
        """Serves one socket to its end, or closes it with 1012 when there is no seat.

        The handshake is accepted even then: after a close the carrier asks our action URL and the call is placed
        elsewhere, while what follows a refused handshake is not documented (Twilio 31920).
        """
        seat = self._capacity.enter(call_id, epoch)
        if seat is None:
            fate = "draining" if self._capacity.is_draining else "full"
            self._station.counters.sockets.labels(fate).inc()
            await socket.close(1012, fate)
            return
        session = CallSession(socket, call_id, epoch, seat.plan, self._station)
        self._live[session] = asyncio.current_task()
        try:
            await session.run()
        finally:
            del self._live[session]
            self._capacity.leave(seat)

    async def emptied(self) -> None:
        """Returns when no call is live and no accepted offer waits for its socket."""
        while self._capacity.used:  # noqa: ASYNC110 - reservations run out by the clock, which sets no event
            await asyncio.sleep(_LOOK_AGAIN_S)

    def end_all(self, reason: EndedReason) -> int:
        """Asks every live call to end; how many there were."""
        for session in self._live:
            session.end(reason)
        return len(self._live)

    async def cut_off(self) -> None:
        """Cancels what is still live and waits until it has closed its epoch and its socket."""
        tasks = [task for task in self._live.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
