"""Takes each admitted socket to a call, and knows which calls are live."""

import asyncio
from typing import Final

from turncall_media.ingress.capacity import Capacity, Seat
from turncall_media.seams import MediaSocket
from turncall_media.session import CallSession, Leaving, Station
from turncall_media.wire.stream import Wire
from turncall_media.wire.twilio import TwilioWire
from turncall_proto.ids import CallId

_LOOK_AGAIN_S: Final = 0.05


class Reception:
    """The owner of every call of this worker."""

    def __init__(self, capacity: Capacity, station: Station) -> None:
        self._capacity = capacity
        self._station = station
        self._live: dict[CallSession, asyncio.Task[None] | None] = {}
        self._leaves: Leaving = "stays"

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
        await self.serve(TwilioWire(socket), seat)

    async def serve(self, wire: Wire, seat: Seat) -> None:
        """Serves one wire to its end, and gives the seat back."""
        session = CallSession(wire, seat.call_id, seat.epoch, seat.plan, self._station)
        self._live[session] = asyncio.current_task()
        if self._leaves != "stays":
            session.hand_over(at_once=self._leaves == "at_once")
        try:
            try:
                await session.run()
            finally:
                self._capacity.leave(seat)
                await session.finish()
        finally:
            del self._live[session]

    async def emptied(self) -> None:
        """Returns when every epoch is closed and no accepted offer waits for its socket."""
        while self._capacity.used or self._live:  # noqa: ASYNC110 - reservations run out by the clock, which sets no event
            await asyncio.sleep(_LOOK_AGAIN_S)

    def hand_over_all(self, *, at_once: bool) -> int:
        """Has other workers go on with every live call and every one that still comes; how many there are."""
        self._leaves = "at_once" if at_once else "quietly"
        for session in self._live:
            session.hand_over(at_once=at_once)
        return len(self._live)

    def leave_all(self) -> int:
        """Has other workers go on at once with the calls that are live at this moment; how many there are."""
        for session in self._live:
            session.hand_over(at_once=True)
        return len(self._live)

    async def cut_off(self) -> None:
        """Cancels what is still live and waits until it has closed its epoch and its socket."""
        tasks = [task for task in self._live.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
