"""Azure's speech over HTTP: cognitiveservices/v1, markup in, raw samples out."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from xml.etree import ElementTree

from aiohttp import web

from turncall_testkit.vendors.manners import Kind
from turncall_testkit.vendors.serving import UNKNOWN, Desk, serving
from turncall_testkit.vendors.tones import tone

NAMESPACE: Final = "{http://www.w3.org/2001/10/synthesis}"
LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_FORMAT: Final = re.compile(r"raw-(8|16|24|48)khz-16bit-mono-pcm")


class AzureFake(Desk):
    """Speaks a tone of ``tone_hz`` for ``speech_s``. Takes any key, or only ``key`` if given; knows every voice but
    `UNKNOWN`. Notes the markup's voice, language, rate and text."""

    def __init__(self, *, tone_hz: float = 440.0, speech_s: float = 1.0, key: str = "") -> None:
        super().__init__(key)
        self._tone_hz = tone_hz
        self._speech_s = speech_s

    def options(self, kind: Kind) -> dict[str, Any]:
        """Options for `turncall_media.providers.azure`."""
        return {"base_url": self.base_url, "timeout_ms": 500}

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """POST /cognitiveservices/v1."""
        fields = _heeded(await request.text())
        status = self.received(request, request.headers.get("Ocp-Apim-Subscription-Key", ""), fields)
        if status:
            return web.Response(status=status, reason="Unauthorized" if status == 401 else "Internal Server Error")
        asked = _FORMAT.fullmatch(request.headers.get("X-Microsoft-OutputFormat", ""))
        if fields["voice"] == UNKNOWN or asked is None or "User-Agent" not in request.headers:
            return web.Response(status=400, reason="Unsupported voice or format")
        speech = tone(self._tone_hz, 1000 * int(asked[1]), self._speech_s)
        pieces = [speech[start : start + 1601] for start in range(0, len(speech), 1601)]
        return await self.stream(request, "audio/basic", pieces, b"")


@asynccontextmanager
async def azure_fake(**answers: Any) -> AsyncIterator[AzureFake]:
    """The fake on loopback. ``answers`` are the keyword arguments of `AzureFake`."""
    fake = AzureFake(**answers)
    app = web.Application()
    app.router.add_post("/cognitiveservices/v1", fake.speak)
    async with serving(app, fake.stalls) as address:
        fake.base_url = f"http://{address}"
        yield fake


def _heeded(markup: str) -> dict[str, Any]:
    """What a speaker takes from it. Raises for what is no markup."""
    speak = ElementTree.fromstring(markup)
    voice = speak.find(f"{NAMESPACE}voice")
    assert voice is not None
    rate, switched = voice.find(f".//{NAMESPACE}prosody"), voice.find(f"{NAMESPACE}lang")
    return {
        "voice": voice.get("name"),
        "language": speak.get(LANG) if switched is None else switched.get(LANG),
        "rate": None if rate is None else rate.get("rate"),
        "text": "".join(voice.itertext()),
    }
