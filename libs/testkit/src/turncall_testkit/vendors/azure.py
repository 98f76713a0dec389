"""Azure's speech over HTTP: cognitiveservices/v1, markup in, raw samples out."""

import re
from typing import Any, Final
from xml.etree import ElementTree

from aiohttp import web

from turncall_testkit.vendors.serving import UNKNOWN, Desk, opened
from turncall_testkit.vendors.tones import tone

NAMESPACE: Final = "{http://www.w3.org/2001/10/synthesis}"
LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_FORMAT: Final = re.compile(r"raw-(8|16|24|48)khz-16bit-mono-pcm")


class AzureFake(Desk):
    """Knows every voice but `UNKNOWN`. Notes the markup's voice, language, rate and text."""

    def routes(self) -> list[web.RouteDef]:
        """Where it is asked."""
        return [web.post("/cognitiveservices/v1", self.speak)]

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """POST /cognitiveservices/v1."""
        fields = _heeded(await request.text())
        status = self.received(request.path, request.headers.get("Ocp-Apim-Subscription-Key", ""), fields)
        if status:
            return web.Response(status=status, reason="Unauthorized" if status == 401 else "Internal Server Error")
        asked = _FORMAT.fullmatch(request.headers.get("X-Microsoft-OutputFormat", ""))
        if fields["voice"] == UNKNOWN or asked is None or "User-Agent" not in request.headers:
            return web.Response(status=400, reason="Unsupported voice or format")
        speech = tone(self.tone_hz, 1000 * int(asked[1]), self.speech_s)
        pieces = [speech[start : start + 1601] for start in range(0, len(speech), 1601)]
        return await self.stream(request, "audio/basic", pieces, b"")


azure_fake = opened(AzureFake)
"""Its keyword arguments are those of `AzureFake`."""


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
