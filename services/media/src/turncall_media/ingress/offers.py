"""Offers of sound from browsers and WhatsApp, which control passes on: each becomes a wire, and a call on it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from turncall_media.ingress.capacity import Capacity, Seat
from turncall_media.wire.browser import BrowserWire
from turncall_media.wire.peer import OfferUnusable
from turncall_media.wire.stream import Wire
from turncall_media.wire.whatsapp import WhatsAppWire
from turncall_proto.codec import decode_exchange, encode
from turncall_proto.ids import CallId
from turncall_proto.webrtc import (
    CandidatesTold,
    SdpAnswered,
    SdpOffered,
    SdpReply,
    SdpWanted,
    SoundAccepted,
    SoundOver,
    Told,
)
from turncall_runtime import logs

_log = logs.logger(__name__)
_DONE = SdpReply(outcome="done")
_UNKNOWN = SdpReply(outcome="unknown")
OfferedWire = BrowserWire | WhatsAppWire


class Offers:
    """The wires of this worker that began with an offer. ``serve`` runs a call to its end; ``now`` is aware UTC."""

    def __init__(
        self, capacity: Capacity, serve: Callable[[Wire, Seat], Awaitable[None]], now: Callable[[], datetime]
    ) -> None:
        self._capacity = capacity
        self._serve = serve
        self._now = now
        self._wires: dict[tuple[CallId, int], OfferedWire] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def answer(self, data: bytes) -> bytes:
        """Answers one message off the bus. Raises `MalformedMessage`, which leaves the asker without an answer."""
        asked = decode_exchange(data)
        if self._now() >= asked.deadline:
            return encode(SdpReply(outcome="late"))
        try:
            reply = await self._take(asked)
        except OfferUnusable as error:
            reply = SdpReply(outcome="refused", detail=str(error))
        return encode(reply)

    async def _take(self, asked: Told) -> SdpReply:
        wire = self._wires.get((asked.call_id, asked.epoch))
        match asked, wire:
            case SdpOffered(), None:
                return await self._begin(asked)
            case SdpOffered(), BrowserWire() | WhatsAppWire():
                return SdpReply(outcome="done", sdp=await wire.answer(asked.sdp, is_new=asked.is_new))
            case CandidatesTold(), BrowserWire() | WhatsAppWire():
                await wire.learn(asked.candidates)
            case SdpWanted(), None:
                return await self._begin(asked)
            case SdpWanted(), WhatsAppWire():
                return SdpReply(outcome="done", sdp=await wire.offer(asked.waits_s))
            case SdpAnswered(), WhatsAppWire():
                await wire.answered(asked.sdp)
            case SoundAccepted(), WhatsAppWire():
                wire.accept()
            case SoundOver(), WhatsAppWire():
                wire.left()
            case _:
                return _UNKNOWN
        return _DONE

    async def _begin(self, asked: SdpOffered | SdpWanted) -> SdpReply:
        """The first offer, or wish for one, of an epoch with a slot here; an offer of no use frees it."""
        key = (asked.call_id, asked.epoch)
        seat = self._capacity.enter(*key)
        if seat is None:
            return _UNKNOWN
        if seat.plan is None:
            self._capacity.leave(seat)
            return _UNKNOWN
        wire: OfferedWire
        self._wires[key] = wire = _wire(asked, seat.plan.provider_call_id)
        try:
            match asked, wire:
                case SdpWanted(), WhatsAppWire():
                    sdp = await wire.offer(asked.waits_s)
                case SdpOffered(), _:
                    sdp = await wire.answer(asked.sdp, is_new=True)
        except BaseException:
            self._forget(key, wire)
            self._capacity.leave(seat)
            raise
        serving = asyncio.create_task(self._serve_to_its_end(key, wire, seat), name="offered call")
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return SdpReply(outcome="done", sdp=sdp)

    async def _serve_to_its_end(self, key: tuple[CallId, int], wire: OfferedWire, seat: Seat) -> None:
        try:
            await self._serve(wire, seat)
        except Exception:  # noqa: BLE001 - the boundary of one call: the others go on
            _log.exception("call.broke", call_id=seat.call_id)
        finally:
            self._forget(key, wire)

    def _forget(self, key: tuple[CallId, int], wire: OfferedWire) -> None:
        if self._wires.get(key) is wire:
            del self._wires[key]


def _wire(asked: SdpOffered | SdpWanted, line_id: str) -> OfferedWire:
    """The wire on which whoever offers, or is to be called, will be heard."""
    if isinstance(asked, SdpOffered) and asked.peer == "browser":
        return BrowserWire(line_id, asked.ice_servers)
    return WhatsAppWire(line_id, asked.ice_servers)
