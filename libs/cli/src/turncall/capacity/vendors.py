"""Vendors of fixed timing that answer any number of calls alike, so that what a worker bears is its own doing.

They speak Deepgram's protocols (live transcription, speech) and OpenAI's (chat completions), as far as workers ask.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import numpy as np
from aiohttp import WSMsgType, web

from turncall_proto.agent import Cascade, VendorRef

MODEL_MS: Final = 300
VOICE_MS: Final = 100
TAKES_MS: Final = MODEL_MS + VOICE_MS
"""Of each reply; the words are there before the caller's silence has ended the turn."""
REPLY_S: Final = 2.0
HEARD: Final = "book a table for two on Friday evening"
SAID: Final = ("Of", " course,", " for", " which", " name?")
TONE_HZ: Final = 440.0
PEAK: Final = 8_000
PIECE_S: Final = 0.1
PARTIAL_EVERY_S: Final = 0.5
LOUD: Final = 200
"""Peak of a sample, of 32767, above which somebody speaks."""


@asynccontextmanager
async def simulated() -> AsyncIterator[Cascade]:
    """A pipeline of vendors that listen on loopback meanwhile."""
    app = web.Application()
    app.router.add_get("/v1/listen", _listen)
    app.router.add_get("/v1/speak", _speak)
    app.router.add_post("/v1/chat/completions", _chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base_url = "http://{}:{}".format(*runner.addresses[0][:2])
        deepgram = VendorRef(vendor="deepgram", options={"base_url": base_url})
        openai = VendorRef(vendor="openai", options={"base_url": f"{base_url}/v1", "model": "simulated"})
        yield Cascade(stt=deepgram, llm=openai, tts=deepgram)
    finally:
        await runner.cleanup()


async def _listen(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    words, spoken, told = HEARD.split(), 0, 0
    step = int(2 * PARTIAL_EVERY_S * int(request.query["sample_rate"]))
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            if np.abs(np.frombuffer(message.data, "<i2")).max(initial=0) > LOUD:
                spoken += len(message.data)
            if spoken // step > told:
                told = spoken // step
                await socket.send_json(_results(" ".join(words[:told])))
        elif message.json()["type"] == "Finalize":
            await socket.send_json(_results(HEARD if spoken else "", is_final=True, from_finalize=True))
            spoken = told = 0
    return socket


async def _speak(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    rate_hz = int(request.query["sample_rate"])
    times = np.arange(round(rate_hz * REPLY_S)) / rate_hz
    speech = (PEAK * np.sin(2 * np.pi * TONE_HZ * times)).astype("<i2").tobytes()
    step = int(2 * PIECE_S * rate_hz)
    has_text = False
    async for message in socket:
        match message.json()["type"]:
            case "Speak":
                has_text = True
            case "Flush" if has_text:
                has_text = False
                await asyncio.sleep(VOICE_MS / 1000)
                for start in range(0, len(speech), step):
                    await socket.send_bytes(speech[start : start + step])
                await socket.send_json({"type": "Flushed", "sequence_id": 0})
            case "Clear":
                has_text = False
                await socket.send_json({"type": "Cleared", "sequence_id": 0})
    return socket


async def _chat(request: web.Request) -> web.StreamResponse:
    await request.read()
    await asyncio.sleep(MODEL_MS / 1000)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for word in SAID:
        await answer.write(_event({"content": word}, None))
    await answer.write(_event({}, "stop") + b"data: [DONE]\n\n")
    await answer.write_eof()
    return answer


def _results(text: str, **marks: bool) -> dict[str, Any]:
    return {"type": "Results", "channel": {"alternatives": [{"transcript": text}]}, **marks}


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "simulated",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "simulated",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
