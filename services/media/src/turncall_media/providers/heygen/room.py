"""The LiveKit room in which HeyGen's avatar appears: its pictures and its sound, by LiveKit's own client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from turncall_media.stages.avatars import Audience, AvatarFailed, Onset, Picture

ROOM_HZ = 24_000


@asynccontextmanager
async def joined(url: str, token: str, audience: Audience) -> AsyncIterator[None]:
    """In the room until left. Raises `AvatarFailed` when it cannot be entered."""
    try:
        from livekit import rtc  # noqa: PLC0415 - an extra, which loads a library of 30 MB
    except ImportError as error:
        raise AvatarFailed("vendor heygen is not installed on this worker: install turncall-media[heygen]") from error
    room, watching = rtc.Room(), set[asyncio.Task[None]]()
    onset = Onset(audience)

    def subscribed(track: Any, _: object, __: object) -> None:
        is_picture = track.kind == rtc.TrackKind.KIND_VIDEO
        work = _see(rtc, track, audience) if is_picture else _hear(rtc, track, onset)
        task = asyncio.create_task(work, name="avatar's pictures" if is_picture else "avatar's sound")
        watching.add(task)
        task.add_done_callback(watching.discard)

    room.on("track_subscribed", subscribed)
    room.on("disconnected", lambda *_: audience.failed("its room was closed"))
    try:
        await room.connect(url, token)
    except rtc.ConnectError as error:
        raise AvatarFailed(f"its room cannot be entered: {error}") from error
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
        await room.disconnect()


async def _see(rtc: Any, track: Any, audience: Audience) -> None:
    async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24, capacity=1):
        frame = event.frame
        audience.show(Picture(rgb=bytes(frame.data), width=frame.width, height=frame.height))


async def _hear(rtc: Any, track: Any, onset: Onset) -> None:
    async for event in rtc.AudioStream(track, sample_rate=ROOM_HZ, num_channels=1):
        onset.heard(bytes(event.frame.data), ROOM_HZ)


Join = Callable[[str, str, Audience], AbstractAsyncContextManager[None]]
