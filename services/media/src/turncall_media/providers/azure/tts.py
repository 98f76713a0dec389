"""Azure's voices, streamed over plain HTTP: its SDK is a binary with threads of its own."""

from collections.abc import AsyncIterator
from typing import Annotated, Final
from xml.sax.saxutils import escape, quoteattr

import httpx2
from msgspec import Meta, Struct
from pipecat.services.settings import TTSSettings
from pipecat.utils.errors import ErrorCategory

from turncall_media.stages import web
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.locales import located
from turncall_media.stages.voices import SentenceTTSService
from turncall_media.stages.web import OwnUrl, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 22_050, 24_000, 44_100, 48_000),
)
AZURE: Final = "https://{region}.tts.speech.microsoft.com"
_KHZ: Final = {8000: "8khz", 16_000: "16khz", 22_050: "22050hz", 24_000: "24khz", 44_100: "44100hz", 48_000: "48khz"}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which voice, where, and how fast it speaks."""

    voice: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9:-]{1,100}$(?!\n)",
            description="A multilingual one speaks the agent's language, another one its own.",
        ),
    ] = "en-US-AvaMultilingualNeural"
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,30}$(?!\n)", description="Where the key is from.")] = "eastus"
    speed: Annotated[float, Meta(ge=0.5, le=2, description="1 is the voice's own.")] | None = None
    base_url: OwnUrl = ""
    timeout_ms: TimeoutMs = 10_000


def build(options: Options, context: BuildContext) -> SentenceTTSService:
    """The voice of one call. Raises `VendorUnusable` for a base_url that no request may go to, or without a key."""
    return AzureSpeechTTSService(options, web.client("azure", options.base_url, options.timeout_ms, context), context)


def warm() -> None:
    """Loads what all clients share."""
    web.warm()


class AzureSpeechTTSService(SentenceTTSService):
    """cognitiveservices/v1: markup in, raw samples out."""

    FAILURES = web.FAILURES

    def __init__(self, options: Options, http: httpx2.AsyncClient, context: BuildContext) -> None:
        super().__init__(
            TTSSettings(model=options.voice, voice=options.voice, language=None),
            from_hz=context.rate_hz,
            rate_hz=context.rate_hz,
            timeout_s=options.timeout_ms / 1000,
        )
        self._http = http
        self._options = options
        self._language = located(context.language)
        self._url = f"{options.base_url.rstrip('/') or AZURE.format(region=options.region)}/cognitiveservices/v1"
        self._headers = {
            "Ocp-Apim-Subscription-Key": context.secret or "none",
            "Content-Type": "application/ssml+xml",
            "X-Microsoft-OutputFormat": f"raw-{_KHZ[context.rate_hz]}-16bit-mono-pcm",
            "User-Agent": "turncall",
        }

    async def cleanup(self) -> None:
        """Closes the connections with the pipeline."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # Pipecat leaves it untyped
        await self._http.aclose()

    async def _speech(self, text: str) -> AsyncIterator[bytes]:
        markup = self._markup(text).encode()
        async with self._http.stream("POST", self._url, content=markup, headers=self._headers) as answer:
            if answer.is_error:
                await answer.aread()
            web.check(answer)
            async for audio in answer.aiter_bytes():
                yield audio

    def _markup(self, text: str) -> str:
        """SSML, in which the text is nothing but text."""
        spoken, language = escape(text), quoteattr(self._language)
        if self._options.speed is not None:
            spoken = f'<prosody rate="{self._options.speed:g}">{spoken}</prosody>'
        if "Multilingual" in self._options.voice:
            spoken = f"<lang xml:lang={language}>{spoken}</lang>"
        voice = f"<voice name={quoteattr(self._options.voice)}>{spoken}</voice>"
        namespace = "http://www.w3.org/2001/10/synthesis"
        return f'<speak version="1.0" xmlns="{namespace}" xml:lang={language}>{voice}</speak>'

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        return web.category(exception)
