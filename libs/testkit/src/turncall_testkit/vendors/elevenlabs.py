"""ElevenLabs' websockets: speech (v1/text-to-speech/{voice}/multi-stream-input) and transcription
(v1/speech-to-text/realtime)."""

import asyncio
import base64
from typing import Any, Final

import msgspec
from aiohttp import web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INTERIM_EVERY_S
from turncall_testkit.vendors.serving import UNKNOWN, Desk, cut, opened
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech in one message."""


class ElevenLabsFake(Desk):
    """Speaks for each text that it is sent, with its characters spread over it; hears for each commit with audio before
    it; knows every voice and model but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [
            web.get("/v1/text-to-speech/{voice}/multi-stream-input", self.speak),
            web.get("/v1/speech-to-text/realtime", self.listen),
        ]

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/text-to-speech/{voice}/multi-stream-input."""
        key = request.headers.get("xi-api-key", "")
        status = self.received(request.path, key, dict(request.query))
        if status == 401:
            return web.json_response({"detail": {"status": "invalid_api_key"}}, status=401)
        if status == 500:
            return web.json_response({"detail": "Internal Server Error"}, status=500)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.match_info["voice"] == UNKNOWN:
            await socket.close(code=1008, message=b"A voice for the voice_id was not found.")
            return socket
        rate_hz = int(request.query["output_format"].removeprefix("pcm_"))
        async for message in socket:
            asked = msgspec.json.decode(message.data, type=dict[str, Any])
            self.journal.append(Asked(name="message", fields=asked))
            context = asked.get("context_id")
            if asked.get("close_socket"):
                await socket.close()
            elif asked.get("close_context"):
                await socket.send_json({"isFinal": True, "contextId": context})
            elif asked.get("text", "").strip():
                await self._speak(request, socket, asked["text"], context, rate_hz)
        return socket

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/speech-to-text/realtime: a key or a model is refused within the socket."""
        fields = {name: request.query.getall(name) for name in request.query}
        status = self.received(request.path, request.headers.get("xi-api-key", ""), fields)
        if status == 500:
            return web.json_response({"detail": "Internal Server Error"}, status=500)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if status == 401 or request.query["model_id"] == UNKNOWN:
            kind = "auth_error" if status == 401 else "invalid_request"
            await socket.send_json({"message_type": kind, "error": "Who are you, or what is that model?"})
            await socket.close()
            return socket
        await socket.send_json({"message_type": "session_started", "session_id": "1"})
        heard, told_at = bytearray(), 0
        async for message in socket:
            asked = msgspec.json.decode(message.data, type=dict[str, Any])
            heard += base64.b64decode(asked["audio_base_64"])
            if asked["commit"]:
                self.journal.append(Asked(name="commit", fields=asked, audio=bytes(heard)))
                words = self.transcripts.next() if heard else ""
                heard.clear()
                told_at = 0
                await self.answer(request, socket, [{"message_type": "committed_transcript", "text": words}])
            elif len(heard) - told_at >= 2 * INTERIM_EVERY_S * asked["sample_rate"]:
                told_at = len(heard)
                partial = {"message_type": "partial_transcript", "text": self.transcripts.first_word}
                await self.answer(request, socket, [partial])
        return socket

    async def _speak(
        self, request: web.Request, socket: web.WebSocketResponse, text: str, context: str | None, rate_hz: int
    ) -> None:
        """The tone in pieces; a fault comes after half of them."""
        manners = self.manners
        if manners.fault == "stall":
            await self.stalls.stall()
        await asyncio.sleep(manners.first_byte_after_s)
        speech, step = tone(self.tone_hz, rate_hz, self.speech_s), int(2 * PIECE_S * rate_hz)
        pieces = [speech[start : start + step] for start in range(0, len(speech), step)]
        faulty = manners.fault in ("break", "cut")
        share = -(-len(text) // len(pieces))
        for index, piece in enumerate(pieces[: len(pieces) // 2] if faulty else pieces):
            chars = list(text[index * share : (index + 1) * share])
            each_ms = round(1000 * PIECE_S / max(1, len(chars)))
            alignment = {
                "chars": chars,
                "charStartTimesMs": [each_ms * place for place in range(len(chars))],
                "charDurationsMs": [each_ms] * len(chars),
            }
            audio = base64.b64encode(piece).decode()
            await socket.send_json({"audio": audio, "contextId": context, "alignment": alignment})
            await asyncio.sleep(manners.pace_s)
        if manners.fault == "break":
            await socket.close(code=1011, message=b"internal error")
        elif manners.fault == "cut":
            cut(request)


elevenlabs_fake = opened(ElevenLabsFake)
"""Its keyword arguments are those of `ElevenLabsFake`."""
