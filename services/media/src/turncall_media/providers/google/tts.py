"""Google's voices, one request a sentence. Its streams are gRPC, behind a service account's key alone."""

import io
import wave
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import httpx2
import msgspec
from msgspec import Meta, Struct
from pipecat.services.settings import TTSSettings
from pipecat.utils.errors import ErrorCategory

from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.locales import located
from turncall_media.stages.voices import NotPcm, SentenceTTSService
from turncall_media.stages.web import OwnUrl, TimeoutMs

CAPABILITIES = Capabilities(needs_secret=True, takes_base_url=True, secret_optional_with=("base_url",))
SPEECH: Final = "https://texttospeech.googleapis.com"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, and how fast it speaks."""

    voice: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9-]{1,100}$(?!\n)",
            description="A Chirp 3 HD voice for the agent's language, or the whole name of any: en-US-Neural2-F.",
        ),
    ] = "Achernar"
    speed: Annotated[float, Meta(ge=0.25, le=2, description="1 is the voice's own.")] | None = None
    base_url: OwnUrl = ""
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> SentenceTTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return GoogleSpeechTTSService(options, web.client("google", options.base_url, options.timeout_ms, context), context)


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class _Answer(Struct, frozen=True, rename="camel"):
    audio_content: str


class GoogleSpeechTTSService(SentenceTTSService):
    """v1/text:synthesize, with an API key. A sentence is heard when all of it was made."""

    FAILURES = (*web.FAILURES, msgspec.MsgspecError)

    def __init__(self, options: Options, http: httpx2.AsyncClient, context: BuildContext) -> None:
        voice = options.voice if "-" in options.voice else f"{located(context.language)}-Chirp3-HD-{options.voice}"
        super().__init__(
            TTSSettings(model=voice, voice=voice, language=None),
            from_hz=context.rate_hz,
            rate_hz=context.rate_hz,
            timeout_s=options.timeout_ms / 1000,
        )
        self._http = http
        self._url = f"{options.base_url.rstrip('/') or SPEECH}/v1/text:synthesize"
        self._headers = {"X-Goog-Api-Key": context.secret or "none"}
        manner: dict[str, Any] = {} if options.speed is None else {"speakingRate": options.speed}
        self._asked = {
            "voice": {"name": voice, "languageCode": "-".join(voice.split("-")[:2])},
            "audioConfig": {"audioEncoding": "LINEAR16", "sampleRateHertz": context.rate_hz, **manner},
        }

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._http.aclose()

    async def _speech(self, text: str) -> AsyncIterator[bytes]:
        body = {"input": {"text": text}, **self._asked}
        answer = await self._http.post(self._url, json=body, headers=self._headers)
        web.check(answer)
        file = b64decode(msgspec.json.decode(answer.content, type=_Answer).audio_content)
        try:
            with wave.open(io.BytesIO(file)) as sound:
                yield sound.readframes(sound.getnframes())
        except (wave.Error, EOFError) as error:
            raise NotPcm("the speech server answered with something that is no WAV file") from error

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return web.category(exception)
