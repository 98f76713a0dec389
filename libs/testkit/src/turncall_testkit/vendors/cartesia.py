"""Cartesia's websockets: speech (tts/websocket) and transcription (stt/websocket)."""

import asyncio
import base64
from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INTERIM_EVERY_S
from turncall_testkit.vendors.serving import UNKNOWN, Desk, cut, opened
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech in one message."""


class CartesiaFake(Desk):
    """Speaks for each transcript that it is sent, with its words' times; hears for each finalize with audio before it;
    knows every voice and model but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get("/tts/websocket", self.speak), web.get("/stt/websocket", self.listen)]

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """GET /tts/websocket."""
        key = request.headers.get("X-API-Key", "")
        status = self.received(request.path, key, {})
        if status == 401:
            return web.Response(status=401, text="Unauthorized")
        if status == 500:
            return web.Response(status=500, text="Internal Server Error")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked = msgspec.json.decode(message.data, type=dict[str, Any])
            self.journal.append(Asked(name="message", fields=asked))
            if asked.get("cancel"):
                continue
            context = {"context_id": asked["context_id"], "status_code": 206, "done": False}
            if asked["voice"]["id"] == UNKNOWN:
                await socket.send_json({**context, "type": "error", "error": "voice not found", "status_code": 404})
                continue
            if asked["transcript"].strip():
                await self._speak(request, socket, asked, context)
            if not asked["continue"]:
                await socket.send_json({**context, "type": "done", "status_code": 200, "done": True})
        return socket

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """GET /stt/websocket."""
        status = self.received(request.path, request.headers.get("X-API-Key", ""), dict(request.query))
        status = status or (404 if request.query["model"] == UNKNOWN else 0)
        if status:
            return web.Response(status=status, text="No.")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard, told_at = bytearray(), 0
        step = int(2 * INTERIM_EVERY_S * int(request.query["sample_rate"]))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                heard += message.data
                if len(heard) - told_at >= step:
                    told_at = len(heard)
                    await self.answer(request, socket, [_transcript(self.transcripts.first_word, is_final=False)])
                continue
            self.journal.append(Asked(name=message.data, audio=bytes(heard)))
            if message.data == "done":
                await socket.send_json({"type": "done", "request_id": "1"})
                await socket.close()
                break
            parts = self.transcripts.next().split(maxsplit=1) if heard else []
            heard.clear()
            told_at = 0
            pieces = [_transcript(part, is_final=True) for part in parts]
            await self.answer(request, socket, [*pieces, {"type": "flush_done", "request_id": "1"}])
        return socket

    async def _speak(
        self, request: web.Request, socket: web.WebSocketResponse, asked: dict[str, Any], context: dict[str, Any]
    ) -> None:
        """The words and the tone in pieces; a fault comes after half of them."""
        manners = self.manners
        if manners.fault == "stall":
            await self.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        rate_hz = asked["output_format"]["sample_rate"]
        speech, step = tone(self.tone_hz, rate_hz, self.speech_s), int(2 * PIECE_S * rate_hz)
        pieces = [speech[start : start + step] for start in range(0, len(speech), step)]
        words = asked["transcript"].split()
        starts = [self.speech_s * index / len(words) for index in range(len(words))]
        ends = [*starts[1:], self.speech_s]
        times = {"words": words, "start": starts, "end": ends}
        await socket.send_json({**context, "type": "timestamps", "word_timestamps": times})
        faulty = manners.fault in ("break", "cut")
        for piece in pieces[: len(pieces) // 2] if faulty else pieces:
            await socket.send_json({**context, "type": "chunk", "data": base64.b64encode(piece).decode()})
            await asyncio.sleep(manners.pace_s)
        if manners.fault == "break":
            await socket.send_json({**context, "type": "error", "error": "model failed", "status_code": 500})
        elif manners.fault == "cut":
            cut(request)


cartesia_fake = opened(CartesiaFake)
"""Its keyword arguments are those of `CartesiaFake`."""


def _transcript(words: str, *, is_final: bool) -> dict[str, Any]:
    return {"type": "transcript", "request_id": "1", "text": words, "is_final": is_final, "language": "en"}
