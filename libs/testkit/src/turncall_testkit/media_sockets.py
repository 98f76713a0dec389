"""A media socket for workers of a few lines, which say nothing and do as they are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from turncall_proto import stream_token, subjects
from turncall_proto.call import CallState, EndedReason
from turncall_proto.codec import decode, encode
from turncall_proto.command import ActReply, HangUpAsked
from turncall_proto.ids import CallId


class Media:
    """Where workers take media sockets: ``deeds`` holds what to do with the next ones, in turn; then it listens."""

    def __init__(self, worker: Any, stream_keys: str) -> None:
        self.worker = worker
        self._keys = stream_token.parse_keys(stream_keys)
        self.workers: list[Any] = []
        self.deeds: list[str] = []
        self.epochs: list[int] = []

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One socket: opens its epoch, then does the next deed."""
        call_id, epoch = CallId(request.match_info["call"]), int(request.match_info["epoch"])
        worker, plan = next(
            (worker, offer.plan)
            for worker in (*self.workers, self.worker)
            for offer in worker.offers
            if (offer.plan.call_id, offer.plan.epoch, worker.answer) == (call_id, epoch, "accepted")
        )
        stream_token.check(self._keys, request.match_info["token"], call_id, epoch, 0)
        self.epochs.append(epoch)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(2):
            await socket.receive()
        await worker.opens(plan)
        deed = self.deeds.pop(0) if self.deeds else "listens"
        if deed == "is lost for good":
            # Before the socket breaks: whatever it is offered from here on is refused, so the caller waits.
            worker.answer, worker.is_frozen = "full", True
        if deed.startswith("is lost"):
            assert request.transport is not None
            request.transport.abort()
            return socket
        if deed == "hangs up":
            await self._hang_up(worker, plan)
        async for _ in socket:
            pass
        reason = EndedReason.CUSTOMER_ENDED_CALL if deed == "listens" else EndedReason.ASSISTANT_ENDED_CALL
        await worker.closes(plan, CallState.COMPLETED, reason)
        return socket

    async def _hang_up(self, worker: Any, plan: Any) -> None:
        asked = HangUpAsked(
            act_id="1",
            call_id=plan.call_id,
            epoch=plan.epoch,
            reason=EndedReason.ASSISTANT_ENDED_CALL,
            deadline=worker.offers[-1].deadline.replace(year=2100),
        )
        answer = await worker.bus.ask(subjects.act("hang_up"), encode(asked), timeout_s=2)
        assert decode(answer, ActReply).is_taken


@asynccontextmanager
async def taking_sockets(worker: Any, stream_keys: str) -> AsyncIterator[Media]:
    """Serves the media sockets of ``worker`` on a port of this machine, and has it say so."""
    media = Media(worker, stream_keys)
    app = web.Application()
    app.router.add_get("/media/{call}/{epoch}/{token}", media.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        worker.media_url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        await worker.beat()
        yield media
    finally:
        await runner.cleanup()
