"""Avatars of vendors against fakes of their own requests. The rooms in which they appear are played here: nothing that
installs from a wheel serves LiveKit's or Daily's protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest

from turncall_media.errors import VendorUnusable
from turncall_media.providers.heygen import avatar as heygen
from turncall_media.providers.local import avatar as local
from turncall_media.providers.tavus import avatar as tavus
from turncall_media.stages.avatars import Audience, AvatarFailed, Onset, Picture
from turncall_media.stages.kinds import BuildContext
from turncall_testkit.vendors import heygen_fake, tavus_fake, tone

WAIT_S = 20
PICTURE = Picture(rgb=bytes(12), width=2, height=2)


class Watcher:
    """Who sees an avatar."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.begun = 0
        self.lost: list[str] = []

    def show(self, picture: Picture) -> None:
        self.pictures.append(picture)

    def voiced(self) -> None:
        self.begun += 1

    def failed(self, why: str) -> None:
        self.lost.append(why)


class Room:
    """A room that shows a picture to whoever enters, and keeps what it is told."""

    def __init__(self) -> None:
        self.entered: list[tuple[str, ...]] = []
        self.told: list[Mapping[str, Any]] = []
        self.is_left = False

    @asynccontextmanager
    async def joined(self, *where: Any) -> AsyncIterator[Callable[[Mapping[str, Any]], None]]:
        *address, audience = where
        self.entered.append(tuple(address))
        audience.show(PICTURE)
        yield self.told.append
        self.is_left = True


async def comes(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not claim():  # noqa: ASYNC110 - facts of many tasks
            await asyncio.sleep(0.01)


async def test_heygen_says_what_it_is_given() -> None:
    """A session is asked for with the key, speech goes in growing pieces and to its end, and the session is ended."""
    room, watcher, speech = Room(), Watcher(), tone(440, 1.9, 24_000)
    async with heygen_fake() as fake:
        options = heygen.Options(avatar_id="an-avatar", quality="low", is_sandbox=True)
        avatar = heygen.HeyGenAvatar(options, "a-key", httpx2.AsyncClient(), room.joined, fake.base_url)
        await avatar.begin(watcher)
        admitted = fake.journal[0]
        assert (admitted.name, admitted.key) == ("/v1/sessions/token", "a-key")
        assert admitted.fields == {
            "mode": "LITE",
            "avatar_id": "an-avatar",
            "is_sandbox": True,
            "video_settings": {"encoding": "H264", "quality": "low"},
        }
        assert room.entered == [("wss://room.example", "a-room-token")]
        assert watcher.pictures == [PICTURE]
        await avatar.speak(speech[:20_000])
        await avatar.speak(speech[20_000:])
        await avatar.pause()
        await avatar.speak(speech[:20_000])
        await avatar.interrupt()
        await comes(lambda: fake.journal[-1].name == "agent.interrupt")
        first, second, rest, ended, again, _ = fake.journal[2:]
        assert [len(asked.audio) for asked in (first, second, rest)] == [19_200, 48_000, len(speech) - 67_200]
        assert first.audio + second.audio + rest.audio == speech
        assert ended.name == "agent.speak_end"
        assert len({asked.fields["event_id"] for asked in (first, second, rest, ended)}) == 1
        assert again.fields["event_id"] != first.fields["event_id"]
        await avatar.close()
        assert (fake.journal[-1].name, fake.journal[-1].key) == ("/v1/sessions/stop", "a-session-token")
        assert room.is_left
        assert watcher.lost == []


async def test_a_heygen_that_is_refused_or_lost_says_so() -> None:
    """By its begin, and by itself when its socket goes; a key that is missing is told when it is built."""
    watcher = Watcher()
    async with heygen_fake() as fake:
        fake.manners = msgspec.structs.replace(fake.manners, fault="refuse_key")
        options = heygen.Options(avatar_id="an-avatar")
        refused = heygen.HeyGenAvatar(options, "a-key", httpx2.AsyncClient(), Room().joined, fake.base_url)
        with pytest.raises(AvatarFailed, match="HeyGen answered 401"):
            await refused.begin(watcher)
        await refused.close()
        fake.manners = msgspec.structs.replace(fake.manners, fault="cut")
        lost = heygen.HeyGenAvatar(options, "a-key", httpx2.AsyncClient(), Room().joined, fake.base_url)
        await lost.begin(watcher)
        await lost.speak(tone(440, 1.0, 24_000))
        await comes(lambda: watcher.lost == ["its socket was closed"])
        await lost.close()
    with pytest.raises(VendorUnusable, match="needs a key"):
        heygen.build(options, BuildContext(rate_hz=16_000, language="en"))


async def test_tavus_says_what_it_is_given() -> None:
    """A conversation is asked for with the key, speech goes into its room by small pieces and to its end, and the
    conversation is ended; one that is refused says so."""
    room, watcher, speech = Room(), Watcher(), tone(440, 0.25, 16_000)
    async with tavus_fake() as fake:
        options = tavus.Options(replica_id="a-replica")
        avatar = tavus.TavusAvatar(options, "a-key", 16_000, httpx2.AsyncClient(), room.joined, fake.base_url)
        await avatar.begin(watcher)
        assert (fake.journal[0].name, fake.journal[0].key) == ("/v2/conversations", "a-key")
        assert fake.journal[0].fields == {"replica_id": "a-replica", "persona_id": "pipecat0"}
        assert room.entered == [("https://room.example/c123",)]
        await avatar.speak(speech)
        await avatar.pause()
        await avatar.interrupt()
        *echoes, interrupt = room.told
        assert {(told["event_type"], told["conversation_id"]) for told in echoes} == {("conversation.echo", "c123")}
        assert [told["properties"]["done"] for told in echoes] == [False, False, True]
        assert {told["properties"]["sample_rate"] for told in echoes} == {16_000}
        assert interrupt["event_type"] == "conversation.interrupt"
        await avatar.close()
        assert fake.journal[-1].fields == {"id": "c123"}
        fake.manners = msgspec.structs.replace(fake.manners, fault="refuse_key")
        refused = tavus.TavusAvatar(options, "a-key", 16_000, httpx2.AsyncClient(), room.joined, fake.base_url)
        with pytest.raises(AvatarFailed, match="Tavus answered 401 to conversations"):
            await refused.begin(watcher)
        await refused.close()
    with pytest.raises(VendorUnusable, match="needs a key"):
        tavus.build(options, BuildContext(rate_hz=16_000, language="en"))


async def test_the_drawn_face_moves_its_lips_while_it_speaks() -> None:
    """Its mouth is shut, opens with speech, of which it tells the beginning, and is shut again when interrupted."""
    watcher = Watcher()
    avatar = local.build(local.Options(size_px=64, frames_per_s=25), BuildContext(rate_hz=16_000, language="en"))
    await avatar.begin(watcher)

    def mouth_px() -> int:
        picture = watcher.pictures[-1]
        rows = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
        return int((rows[picture.height // 2 :, :, 0] < 100).sum())

    await comes(lambda: bool(watcher.pictures))
    shut = mouth_px()
    assert watcher.begun == 0
    await avatar.speak(tone(440, 30.0, 16_000))
    await comes(lambda: mouth_px() > 3 * shut)
    assert watcher.begun == 1
    await avatar.interrupt()
    await comes(lambda: mouth_px() == shut)
    await avatar.close()


def test_an_utterance_begins_with_speech_behind_silence() -> None:
    """Of the sound of a room: not with every loud moment."""
    watcher, loud = Watcher(), np.full(160, 4000, "<i2").tobytes()
    audience: Audience = watcher
    onset = Onset(audience)
    for pcm, begun in ((bytes(320), 0), (loud, 1), (loud, 1), (bytes(320), 1), (loud, 1), (bytes(3200), 1), (loud, 2)):
        onset.heard(pcm, 16_000)
        assert watcher.begun == begun
