"""The line on which the caller of a test is reached: what the caller does there, and who plays it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from msgspec import Struct

from turncall_control.config import ControlConfig

REQUEST_TIMEOUT_S: Final = 10.0


class Act(Struct, frozen=True, kw_only=True, tag_field="step"):
    """One thing that a caller does. Times run on the call's own clock."""


class Say(Act, frozen=True, kw_only=True, tag="say"):
    """Say ``text`` in a ``voice`` (empty: the line's own), or the sound ``pcm``: mono s16le, 8000 Hz."""

    text: str = ""
    voice: str = ""
    pcm: bytes = b""


class Noise(Act, frozen=True, kw_only=True, tag="noise"):
    """Noise from here on, so far below speech."""

    snr_db: int


class WaitForAgent(Act, frozen=True, kw_only=True, tag="wait_for_agent"):
    """Wait until the agent was heard since the caller last acted, and has been silent for ``silent_ms``."""

    silent_ms: int
    timeout_s: float


class WaitForSilence(Act, frozen=True, kw_only=True, tag="wait_for_silence"):
    """Wait until the agent has been silent for ``silent_ms``, whether or not it was heard."""

    silent_ms: int
    timeout_s: float


class Pause(Act, frozen=True, kw_only=True, tag="pause"):
    """Say nothing for so long."""

    length_s: float


class Press(Act, frozen=True, kw_only=True, tag="press"):
    """Press keys."""

    digits: str


class Interrupt(Act, frozen=True, kw_only=True, tag="interrupt"):
    """Speak over the agent once it has spoken for ``after_ms`` at a stretch; or behind it, once it was heard and then
    silent for ``or_silent_ms``, if that is given."""

    say: Say
    after_ms: int
    timeout_s: float
    or_silent_ms: int | None = None


class HangUp(Act, frozen=True, kw_only=True, tag="hang_up"):
    """Put the phone down."""


class WaitForHangUp(Act, frozen=True, kw_only=True, tag="wait_for_hang_up"):
    """Wait until the agent ends the call."""

    timeout_s: float


class LineRefused(Exception):
    """The line does not play this caller; the message says what is wrong with it."""


class LineAway(Exception):
    """The line cannot be reached, or does not answer."""


class TestLine(Protocol):
    """Who plays the callers of tests. A real carrier's would be a number of another account, whose streams we serve."""

    async def expect(self, number: str, acts: Sequence[Act]) -> None:
        """Has whoever calls ``number`` meet a caller who picks up and does this; a repeat changes nothing.

        Raises `LineRefused`, `LineAway`.
        """
        ...


class EmulatedLine:
    """The carrier emulator's phones, through its control face."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._face = f"{base_url.rstrip('/')}/emulator"

    async def expect(self, number: str, acts: Sequence[Act]) -> None:
        """As `TestLine.expect`."""
        phone = {"phone": "answers", "script": acts}
        await self._post("/phones", {"phone_number": number, "phone": phone})

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        try:
            async with (
                asyncio.timeout(REQUEST_TIMEOUT_S),
                self._session.post(self._face + path, data=msgspec.json.encode(body)) as response,
            ):
                answer = await response.text()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise LineAway(f"the test line cannot be reached: {type(error).__name__}") from error
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise LineAway(f"the test line answers {response.status}")
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise LineRefused(f"The test line does not play this caller: {answer[:300]}")


@asynccontextmanager
async def opened(config: ControlConfig) -> AsyncIterator[TestLine | None]:
    """The installation's test line; None when it has none."""
    if config.test_lines == "none":
        yield None
        return
    async with aiohttp.ClientSession() as session:
        yield EmulatedLine(session, config.twilio_base_url)
