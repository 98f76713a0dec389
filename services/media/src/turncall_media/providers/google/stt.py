"""Google's transcription, one request an utterance. Its streams are gRPC, behind a service account's key alone."""

from base64 import b64encode
from typing import Annotated, Any, Final

import httpx2
import msgspec
from msgspec import Meta, Struct
from pipecat.services.stt_latency import GOOGLE_TTFS_P99
from pipecat.utils.errors import ErrorCategory

from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.locales import located
from turncall_media.stages.utterances import UtteranceSTTService
from turncall_media.stages.web import OwnUrl, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
SPEECH: Final = "https://speech.googleapis.com"
LONGEST_S: Final = 59
"""Google takes a minute at most in one request: of a longer utterance the end."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model. The language and the keyterms are the agent's."""

    model: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,100}$(?!\n)")] = "latest_long"
    base_url: OwnUrl = ""
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> UtteranceSTTService:
    """Transcribes one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return GoogleSpeechSTTService(options, web.client("google", options.base_url, options.timeout_ms, context), context)


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class _Alternative(Struct, frozen=True):
    transcript: str = ""


class _Result(Struct, frozen=True):
    alternatives: tuple[_Alternative, ...] = ()


class _Answer(Struct, frozen=True):
    results: tuple[_Result, ...] = ()


class GoogleSpeechSTTService(UtteranceSTTService):
    """v1/speech:recognize, with an API key."""

    FAILURES = (*web.FAILURES, msgspec.MsgspecError)

    def __init__(self, options: Options, http: httpx2.AsyncClient, context: BuildContext) -> None:
        super().__init__(model=options.model, rate_hz=context.rate_hz, ttfs_s=GOOGLE_TTFS_P99)
        self._http = http
        self._url = f"{options.base_url.rstrip('/') or SPEECH}/v1/speech:recognize"
        self._headers = {"X-Goog-Api-Key": context.secret or "none"}
        self._longest_bytes = 2 * context.rate_hz * LONGEST_S
        self._asked: dict[str, Any] = {
            "encoding": "LINEAR16",
            "sampleRateHertz": context.rate_hz,
            "languageCode": located(context.language),
            "model": options.model,
            "enableAutomaticPunctuation": True,
        }
        if context.keyterms:
            self._asked["speechContexts"] = [{"phrases": list(context.keyterms)}]

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()
        await self._http.aclose()

    async def _transcribed(self, audio: bytes) -> str:
        sound = {"content": b64encode(audio[-self._longest_bytes :]).decode()}
        body = {"config": self._asked, "audio": sound}
        answer = await self._http.post(self._url, json=body, headers=self._headers)
        web.check(answer)
        results = msgspec.json.decode(answer.content, type=_Answer).results
        return " ".join(one.alternatives[0].transcript.strip() for one in results if one.alternatives)

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return web.category(exception)
