"""Tavus's replicas: a conversation is asked for by HTTP; speech and pictures go through its Daily room (docs.tavus.io).

Pipecat's client of it is not used: it logs what fails and goes on.
"""

import base64
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Any, Final
from uuid import uuid4

import httpx2
import msgspec
from msgspec import Meta, Struct

from turncall_media.errors import VendorUnusable
from turncall_media.providers.tavus.room import Join, Tell, joined
from turncall_media.stages.avatars import Audience, AvatarFailed, Seen
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.web import client

CAPABILITIES = Capabilities(needs_secret=True)
API: Final = "https://tavusapi.com/v2"
REQUEST_TIMEOUT_MS: Final = 10_000
PIECE_MS: Final = 100
"""How much speech goes in one message: a room takes no large ones."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which face."""

    replica_id: Annotated[str, Meta(min_length=1, max_length=256, description="One of your account's, or a stock one.")]
    persona_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="One whose pipeline mode is echo, which says what it is given; Tavus has one for everybody.",
        ),
    ] = "pipecat0"


REHEARSAL = {"replica_id": "any"}


def build(options: Options, context: BuildContext) -> "TavusAvatar":
    """The avatar of one call. Raises `VendorUnusable` without a key."""
    if context.secret is None:
        raise VendorUnusable("vendor tavus needs a key")
    http = client("tavus", "", REQUEST_TIMEOUT_MS, context)
    return TavusAvatar(options, context.secret, context.rate_hz, http)


class _Conversation(Struct, frozen=True, kw_only=True):
    conversation_id: str
    conversation_url: str


class TavusAvatar:
    """One conversation. ``join`` enters the room, ``api`` is where conversations are asked for."""

    def __init__(
        self,
        options: Options,
        key: str,
        rate_hz: int,
        http: httpx2.AsyncClient,
        join: Join = joined,
        api: str = API,
    ) -> None:
        self.rate_hz = rate_hz
        self._options = options
        self._headers = {"x-api-key": key}
        self._http = http
        self._join = join
        self._api = api
        self._running = AsyncExitStack()
        self._tell: Tell | None = None
        self._conversation = ""
        self._utterance = ""
        self._unsent = bytearray()

    async def begin(self, audience: Audience) -> None:
        """Returns with the replica's first picture."""
        wanted = {"replica_id": self._options.replica_id, "persona_id": self._options.persona_id}
        try:
            made = msgspec.json.decode(await self._post("/conversations", wanted), type=_Conversation)
        except msgspec.DecodeError as error:
            raise AvatarFailed("Tavus gave an answer that is not understood") from error
        self._conversation = made.conversation_id
        self._running.push_async_callback(self._post, f"/conversations/{made.conversation_id}/end")
        seen = Seen(audience)
        self._tell = await self._running.enter_async_context(self._join(made.conversation_url, seen))
        await seen.picture.wait()

    async def speak(self, pcm: bytes) -> None:
        """Appends to what it is to say."""
        self._unsent += pcm
        piece_bytes = 2 * self.rate_hz * PIECE_MS // 1000
        while len(self._unsent) >= piece_bytes:
            piece = bytes(self._unsent[:piece_bytes])
            del self._unsent[:piece_bytes]
            self._echo(piece, is_last=False)

    async def pause(self) -> None:
        """What was given so far is a whole utterance."""
        if self._utterance or self._unsent:
            self._echo(bytes(self._unsent) or bytes(2 * self.rate_hz // 25), is_last=True)
            self._unsent.clear()
            self._utterance = ""

    async def interrupt(self) -> None:
        """Falls silent at once."""
        self._unsent.clear()
        self._utterance = ""
        self._send("conversation.interrupt")

    async def close(self) -> None:
        """Ends the conversation; Tavus ends one by itself in which nobody is left."""
        try:
            with suppress(AvatarFailed):  # it is over there already
                await self._running.aclose()
        finally:
            await self._http.aclose()

    def _echo(self, pcm: bytes, *, is_last: bool) -> None:
        self._utterance = self._utterance or uuid4().hex
        self._send(
            "conversation.echo",
            properties={
                "modality": "audio",
                "inference_id": self._utterance,
                "audio": base64.b64encode(pcm).decode(),
                "done": is_last,
                "sample_rate": self.rate_hz,
            },
        )

    def _send(self, kind: str, **more: Any) -> None:
        assert self._tell is not None  # begun
        about = {"message_type": "conversation", "event_type": kind, "conversation_id": self._conversation}
        self._tell(about | more)

    async def _post(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        try:
            answer = await self._http.post(self._api + path, json=body, headers=self._headers)
        except httpx2.HTTPError as error:
            raise AvatarFailed(f"Tavus cannot be reached: {type(error).__name__}") from error
        if not answer.is_success:
            raise AvatarFailed(f"Tavus answered {answer.status_code} to {path.partition('/')[2].partition('/')[0]}")
        return answer.content
