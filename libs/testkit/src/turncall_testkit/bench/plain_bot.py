"""``python -m turncall_testkit.bench.plain_bot``: the phone bot of Pipecat's guides, to compare with.

Its FastAPI transport, its serializer for Twilio, its services for Deepgram and OpenAI, Silero, and turns that end after
a silence. Nothing of it is tuned but what the arguments say.
"""

import argparse
import sys
from typing import Final

import uvicorn
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

VAD_STOP_S: Final = 0.2
"""Pipecat's own; the rest of the stop window is the turn strategy's."""


def arguments() -> argparse.Namespace:
    """Where to listen, where the vendors are, and how it is set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stt", required=True, help="Deepgram's protocol, http://…")
    parser.add_argument("--llm", required=True, help="OpenAI's protocol, http://…/v1")
    parser.add_argument("--tts", required=True, help="Deepgram's protocol, http://…")
    parser.add_argument("--stop-window-s", type=float, required=True)
    parser.add_argument("--rate-hz", type=int, help="of the whole pipeline; Pipecat's defaults unless given")
    return parser.parse_args()


async def serve_call(socket: WebSocket, asked: argparse.Namespace) -> None:
    """One call, until its socket closes."""
    await socket.accept()
    _, start = await parse_telephony_websocket(socket)
    serializer = TwilioFrameSerializer(
        stream_sid=start["stream_id"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False)
    )
    transport = FastAPIWebsocketTransport(
        socket, FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    )
    rates = {"audio_in_sample_rate": asked.rate_hz, "audio_out_sample_rate": asked.rate_hz} if asked.rate_hz else {}
    stop = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=asked.stop_window_s - VAD_STOP_S)
    context = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(), user_turn_strategies=UserTurnStrategies(stop=[stop])
        ),
    )
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                DeepgramSTTService(api_key="none", base_url=asked.stt),
                context.user(),
                OpenAILLMService(api_key="none", base_url=asked.llm),
                DeepgramTTSService(api_key="none", base_url="ws" + asked.tts.removeprefix("http")),
                transport.output(),
                context.assistant(),
            ]
        ),
        params=PipelineParams(**rates),
    )

    async def greet(*_: object) -> None:
        await worker.queue_frames([TTSSpeakFrame("Hello there.")])

    async def end(*_: object) -> None:
        await worker.cancel()

    transport.add_event_handler("on_client_connected", greet)
    transport.add_event_handler("on_client_disconnected", end)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def main() -> None:
    """Serves calls on ``/ws`` until SIGTERM."""
    asked = arguments()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")

    async def call(socket: WebSocket) -> None:
        await serve_call(socket, asked)

    async def ready(_: object) -> PlainTextResponse:
        return PlainTextResponse("ready")

    app = Starlette(routes=[Route("/ready", ready), WebSocketRoute("/ws", call)])
    uvicorn.run(app, host="127.0.0.1", port=asked.port, log_level="warning", ws_max_size=2**20)


if __name__ == "__main__":
    main()
