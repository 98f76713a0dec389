"""Calls that nobody speaks in: webhooks as a carrier sends them, and workers that accept whatever is offered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
from msgspec import Struct

from turncall_bus import nats
from turncall_bus.bus import Bus
from turncall_phone.accounts import Account
from turncall_phone.signature import SIGNATURE_HEADER, sign
from turncall_proto import ids, subjects
from turncall_proto.codec import decode, encode
from turncall_proto.ids import WorkerId
from turncall_proto.placement import BEAT_EVERY_S, CallOffer, OfferReply, WorkerBeat

PATH: Final = "/webhooks/twilio/voice/inbound"


class Carrier(Struct, frozen=True, kw_only=True):
    """Whose webhooks they are, and under which address (without a path) they are signed."""

    account: Account
    public_url: str

    async def ring(self, client: aiohttp.ClientSession, url: str, *, sid: str, caller: str, called: str) -> str:
        """Announces a call at ``url`` (without a path); the document that answers it, whatever it says."""
        form = {"AccountSid": self.account.sid, "CallSid": sid, "CallStatus": "ringing", "From": caller, "To": called}
        signed = sign(self.account.auth_token, self.public_url + PATH, tuple(form.items()))
        async with client.post(url + PATH, data=form, headers={SIGNATURE_HEADER: signed}) as answer:
            return await answer.text()


class SimulatedWorker:
    """Beats, and accepts offers on the bus as a real worker does; no socket stands behind its ``media_url``."""

    def __init__(self, bus: Bus, *, media_url: str, slots: int, lag_ms: float) -> None:
        self.id = WorkerId(ids.mint(ids.WORKER))
        self._bus = bus
        self._media_url = media_url
        self._slots = slots
        self._lag_ms = lag_ms
        self._taken: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._bus.serve(subjects.offer(self.id), self._answer)
        while True:
            await self._bus.tell(subjects.beat("calls", self.id), encode(self._beat()))
            await asyncio.sleep(BEAT_EVERY_S)

    async def _answer(self, data: bytes) -> bytes:
        self._taken.add(decode(data, CallOffer).plan.call_id)
        return encode(OfferReply(worker=self.id, answer="accepted"))

    def _beat(self) -> WorkerBeat:
        return WorkerBeat(
            worker=self.id,
            pool="calls",
            slots_total=self._slots,
            slots_used=min(len(self._taken), self._slots),
            lag_ms=self._lag_ms,
            version="simulated",
            media_url=self._media_url,
        )


@asynccontextmanager
async def simulated(
    nats_url: str, media_urls: tuple[str, ...], *, slots: int, lags_ms: tuple[float, ...]
) -> AsyncIterator[list[SimulatedWorker]]:
    """A worker with a connection of its own for each address; all of them go at the end."""
    async with AsyncExitStack() as stack:
        workers = []
        for media_url, lag_ms in zip(media_urls, lags_ms, strict=True):
            bus = await nats.connect(nats_url, name=f"simulated {media_url}")
            stack.push_async_callback(bus.close)
            worker = SimulatedWorker(bus, media_url=media_url, slots=slots, lag_ms=lag_ms)
            stack.push_async_callback(_ended, asyncio.create_task(worker.run()))
            workers.append(worker)
        yield workers


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
