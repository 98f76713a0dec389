"""HeyGen's LiveAvatar: speech goes over a WebSocket, pictures come out of a LiveKit room (docs.liveavatar.com).

Pipecat's client of it is not used: it logs what fails and goes on, and prints a link with the room's token.
"""

import asyncio
import base64
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

import httpx2
import msgspec
from msgspec import Meta, Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from turncall_media.errors import VendorUnusable
from turncall_media.providers.heygen.room import Join, joined
from turncall_media.stages.avatars import Audience, AvatarFailed, Seen
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import client

CAPABILITIES = Capabilities(needs_secret=True, rates_hz=(24_000,))
API: Final = "https://api.liveavatar.com/v1"
REQUEST_TIMEOUT_MS: Final = 10_000
FIRST_MS, THEN_MS = 400, 1000
"""How much speech goes in one message: little at first, so that the lips move soon."""
ALIVE_EVERY_S: Final = 150.0
"""A session that is told nothing for five minutes is ended by HeyGen."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which avatar, and how it is drawn."""

    avatar_id: Annotated[str, Meta(min_length=1, max_length=256, description="From HeyGen's LiveAvatar.")]
    quality: Literal["low", "medium", "high", "very_high"] = "medium"
    is_sandbox: Annotated[bool, Meta(description="A session of a minute that costs nothing.")] = False


REHEARSAL = {"avatar_id": "any"}


def build(options: Options, context: BuildContext) -> "HeyGenAvatar":
    """The avatar of one call. Raises `VendorUnusable` without a key."""
    if context.secret is None:
        raise VendorUnusable("vendor heygen needs a key")
    return HeyGenAvatar(options, context.secret, client("heygen", "", REQUEST_TIMEOUT_MS, context))


class _Token(Struct, frozen=True, kw_only=True):
    session_id: str
    session_token: str


class _Started(Struct, frozen=True, kw_only=True):
    livekit_url: str
    livekit_client_token: str
    ws_url: str


class _Answer[T](Struct, frozen=True, kw_only=True):
    data: T


class HeyGenAvatar:
    """One session. ``join`` enters the room, ``api`` is where sessions are asked for."""

    rate_hz = 24_000

    def __init__(
        self, options: Options, key: str, http: httpx2.AsyncClient, join: Join = joined, api: str = API
    ) -> None:
        self._options = options
        self._key = key
        self._http = http
        self._join = join
        self._api = api
        self._running = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: ClientConnection | None = None
        self._utterance = ""
        self._unsent = bytearray()
        self._is_closing = False

    async def begin(self, audience: Audience) -> None:
        """Returns with the avatar's first picture."""
        seen = Seen(audience)
        token = await self._ask("/sessions/token", _Answer[_Token], {"X-API-KEY": self._key}, self._wanted())
        bearer = {"Authorization": f"Bearer {token.data.session_token}"}
        stop = {"session_id": token.data.session_id}
        self._running.push_async_callback(self._ask, "/sessions/stop", msgspec.Raw, bearer, stop)
        session = (await self._ask("/sessions/start", _Answer[_Started], bearer)).data
        try:
            self._socket = await self._running.enter_async_context(connect(session.ws_url))
        except (OSError, InvalidURI, InvalidHandshake, TimeoutError) as error:
            raise AvatarFailed(f"its socket cannot be opened: {type(error).__name__}") from error
        await self._running.enter_async_context(self._join(session.livekit_url, session.livekit_client_token, seen))
        self._tasks += [
            asyncio.create_task(self._watch(self._socket, audience), name="avatar's socket"),
            asyncio.create_task(self._stay(), name="avatar stays"),
        ]
        await seen.picture.wait()

    async def speak(self, pcm: bytes) -> None:
        """Appends to what it is to say."""
        self._unsent += pcm
        enough = self._bytes(THEN_MS if self._utterance else FIRST_MS)
        while len(self._unsent) >= enough:
            piece = bytes(self._unsent[:enough])
            del self._unsent[:enough]
            await self._say(piece)
            enough = self._bytes(THEN_MS)

    async def pause(self) -> None:
        """What was given so far is a whole utterance."""
        if self._unsent:
            await self._say(bytes(self._unsent))
            self._unsent.clear()
        if self._utterance:
            await self._send("agent.speak_end", self._utterance)
            self._utterance = ""

    async def interrupt(self) -> None:
        """Falls silent at once."""
        self._unsent.clear()
        self._utterance = ""
        await self._send("agent.interrupt", uuid4().hex)

    async def close(self) -> None:
        """Ends the session; HeyGen ends one by itself of which it hears nothing."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        try:
            with suppress(AvatarFailed):  # it is over there already
                await self._running.aclose()
        finally:
            await self._http.aclose()

    def _wanted(self) -> dict[str, Any]:
        return {
            "mode": "LITE",
            "avatar_id": self._options.avatar_id,
            "is_sandbox": self._options.is_sandbox,
            "video_settings": {"encoding": "H264", "quality": self._options.quality},
        }

    async def _say(self, pcm: bytes) -> None:
        self._utterance = self._utterance or uuid4().hex
        await self._send("agent.speak", self._utterance, audio=base64.b64encode(pcm).decode())

    async def _send(self, kind: str, event_id: str, **more: str) -> None:
        assert self._socket is not None  # begun
        try:
            await self._socket.send(msgspec.json.encode({"type": kind, "event_id": event_id, **more}).decode())
        except WebSocketException as error:
            raise AvatarFailed("its socket was closed") from error

    async def _stay(self) -> None:
        with suppress(AvatarFailed):  # who watches the socket says so
            while True:
                await asyncio.sleep(ALIVE_EVERY_S)
                await self._send("session.keep_alive", uuid4().hex)

    async def _watch(self, socket: ClientConnection, audience: Audience) -> None:
        """What it says of itself is of no use to us but that it is there."""
        with suppress(WebSocketException):
            async for _ in socket:
                pass
        if not self._is_closing:
            audience.failed("its socket was closed")

    async def _ask[T](
        self, path: str, shape: type[T], headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> T:
        try:
            answer = await self._http.post(self._api + path, json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise AvatarFailed(f"HeyGen cannot be reached: {type(error).__name__}") from error
        if not answer.is_success:
            raise AvatarFailed(f"HeyGen answered {answer.status_code} to {path}")
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.DecodeError as error:
            raise AvatarFailed(f"HeyGen gave an answer to {path} that is not understood") from error

    def _bytes(self, ms: int) -> int:
        return 2 * self.rate_hz * ms // 1000
