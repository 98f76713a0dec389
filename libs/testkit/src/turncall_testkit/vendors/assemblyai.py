"""AssemblyAI's websocket: v3/ws."""

from typing import Any, Final

import msgspec
from aiohttp import WSMsgType, web

from turncall_testkit.vendors.manners import Asked
from turncall_testkit.vendors.replies import INTERIM_EVERY_S
from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened

SHORTEST_S: Final = 0.05
LONGEST_S: Final = 1.0
"""Of the audio in one message; anything else ends the session."""


class AssemblyAIFake(Desk):
    """Hears for each ForceEndpoint with audio before it; knows every model but `UNKNOWN`."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.get("/v3/ws", self.listen)]

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """GET /v3/ws."""
        status = self.received(request.path, request.headers.get("Authorization", ""), dict(request.query))
        if status:
            return web.Response(status=status, text="Not authorized" if status == 401 else "Internal error")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.query["speech_model"] == UNKNOWN:
            await socket.close(code=1008, message=b"Invalid speech_model")
            return socket
        await socket.send_json({"type": "Begin", "id": "1", "expires_at": 0})
        rate_hz, heard, told_at = int(request.query["sample_rate"]), bytearray(), 0
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                if not SHORTEST_S <= len(message.data) / 2 / rate_hz <= LONGEST_S:
                    await socket.close(code=3007, message=b"Input Duration Violation")
                    break
                heard += message.data
                if len(heard) - told_at >= 2 * INTERIM_EVERY_S * rate_hz:
                    told_at = len(heard)
                    await self.answer(request, socket, [_turn(self.transcripts.first_word)])
                continue
            fields = msgspec.json.decode(message.data, type=dict[str, Any])
            self.journal.append(Asked(name=fields["type"], fields=fields, audio=bytes(heard)))
            if fields["type"] == "Terminate":
                await socket.send_json({"type": "Termination", "audio_duration_seconds": 1})
                await socket.close()
            elif fields["type"] == "ForceEndpoint" and heard:
                heard.clear()
                told_at = 0
                words = self.transcripts.next()
                ends = [_turn(words, is_end=True)]
                if request.query["format_turns"] == "true":
                    ends.append(_turn(f"{words.capitalize()}.", is_end=True, is_formatted=True))
                await self.answer(request, socket, ends)
        return socket


assemblyai_fake = opened(AssemblyAIFake)
"""Its keyword arguments are those of `AssemblyAIFake`."""


def _turn(words: str, *, is_end: bool = False, is_formatted: bool = False) -> dict[str, Any]:
    turn = {"type": "Turn", "turn_order": 0, "transcript": words, "words": []}
    return {**turn, "end_of_turn": is_end, "turn_is_formatted": is_formatted, "end_of_turn_confidence": 0.1}
