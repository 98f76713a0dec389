"""Deepgram's websockets: live transcription (v1/listen) and speech (v1/speak)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from aiohttp import WSMsgType, web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INTERIM_EVERY_S
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened
from turncall_testkit.vendors.tones import tone

PIECE_S: Final = 0.1
"""Of speech in one binary message."""


class DeepgramFake(Desk):
    """Hears for each Finalize with audio before it; speaks at each Flush with text before it. With a ``floor`` it hears
    nothing in audio whose peak is not above it."""

    def __init__(self, *, floor: int = -1, **answers: Any) -> None:
        super().__init__(**answers)
        self._floor = floor

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get("/v1/listen", self.listen), web.get("/v1/speak", self.speak)]

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/listen."""
        if (refusal := self._refusal(request, known=("linear16",))) is not None:
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard, told_at, sounding = bytearray(), 0, 0
        step = int(2 * INTERIM_EVERY_S * int(request.query["sample_rate"]))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                heard += message.data
                sounding += len(message.data) if self._floor < 0 or _peak(message.data) > self._floor else 0
                if sounding - told_at >= step and request.query.get("interim_results") == "true":
                    told_at = sounding
                    await self.answer(request, socket, [_results(self.transcripts.first_word, is_final=False)])
                continue
            kind = self._note(message.data, bytes(heard))
            if kind == "Finalize":
                transcript = self.transcripts.next() if sounding else ""
                heard.clear()
                told_at = sounding = 0
                await self.answer(request, socket, [_results(transcript, is_final=True)])
            elif kind == "CloseStream":
                await socket.send_json({"type": "Metadata", "request_id": "1"})
                await socket.close()
        return socket

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/speak."""
        if (refusal := self._refusal(request, known=("linear16",))) is not None:
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        rate_hz, has_text = int(request.query["sample_rate"]), False
        speech, step = tone(self.tone_hz, rate_hz, self.speech_s), int(2 * PIECE_S * rate_hz)
        pieces = [speech[start : start + step] for start in range(0, len(speech), step)]
        async for message in socket:
            kind = self._note(message.data, b"")
            if kind == "Speak":
                has_text = True
            elif kind == "Flush":
                await self.answer(
                    request, socket, [*(pieces if has_text else ()), {"type": "Flushed", "sequence_id": 0}]
                )
                has_text = False
            elif kind == "Clear":
                has_text = False
                await socket.send_json({"type": "Cleared", "sequence_id": 0})
            elif kind == "Close":
                await socket.close()
        return socket

    def _refusal(self, request: web.Request, known: Sequence[str]) -> web.Response | None:
        key = request.headers.get("Authorization", "").removeprefix("Token ")
        fields = {name: request.query.getall(name) for name in request.query}
        status = self.received(request.path, key, fields)
        if status == 401:
            return web.Response(status=401, headers={"dg-error": "Invalid credentials."})
        if status == 500:
            return web.Response(status=500, headers={"dg-error": "Internal error."})
        if request.query.get("encoding") not in known:
            return web.Response(status=400, headers={"dg-error": "Unknown encoding."})
        if request.query.get("model") == UNKNOWN:
            return web.Response(status=400, headers={"dg-error": "No such model/language/tier combination found."})
        return None

    def _note(self, text: str, audio: bytes) -> str:
        fields = msgspec.json.decode(text, type=dict[str, Any])
        name = str(fields["type"])
        self.journal.append(Asked(name=name, fields=fields, audio=audio))
        return name


deepgram_fake = opened(DeepgramFake)
"""Its keyword arguments are those of `DeepgramFake`."""


def _peak(audio: bytes) -> int:
    return int(np.abs(np.frombuffer(audio, "<i2").astype(np.int32)).max(initial=0))


def _results(transcript: str, *, is_final: bool) -> dict[str, Any]:
    words = [{"word": word, "start": 0.0, "end": 0.1, "confidence": 0.9} for word in transcript.split()]
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": 0.0,
        "duration": 1.0,
        "is_final": is_final,
        "speech_final": False,
        "from_finalize": is_final,
        "channel": {"alternatives": [{"transcript": transcript, "confidence": 0.9, "words": words}]},
        "metadata": {
            "request_id": "1",
            "model_info": {"name": "fake", "version": "1", "arch": "fake"},
            "model_uuid": "1",
        },
    }
