"""The Daily room in which Tavus's avatar appears: its pictures, its sound, and messages to it, by Daily's own client.

Its callbacks come from threads of its own; everything here is handed to the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final

from turncall_media.stages.avatars import Audience, AvatarFailed, Onset, Picture

ROOM_HZ: Final = 16_000

Tell = Callable[[Mapping[str, Any]], None]
"""Sends the room a message."""


@cache
def _daily() -> Any:
    try:
        import daily  # noqa: PLC0415 - an extra, which loads a library of 40 MB
    except ImportError as error:
        raise AvatarFailed("vendor tavus is not installed on this worker: install turncall-media[tavus]") from error
    daily.Daily.init()
    return daily


@asynccontextmanager
async def joined(url: str, audience: Audience) -> AsyncIterator[Tell]:
    """In the room until left. Raises `AvatarFailed` when it cannot be entered."""
    daily, loop, onset = _daily(), asyncio.get_running_loop(), Onset(audience)

    def see(_: str, frame: Any, __: str) -> None:
        picture = Picture(rgb=bytes(frame.buffer), width=frame.width, height=frame.height)
        loop.call_soon_threadsafe(audience.show, picture)

    def hear(_: str, sound: Any, __: str) -> None:
        loop.call_soon_threadsafe(onset.heard, bytes(sound.audio_frames), ROOM_HZ)

    class Watcher(daily.EventHandler):  # type: ignore[misc,name-defined]  # of an extra
        def on_participant_joined(self, participant: Mapping[str, Any]) -> None:
            room.set_video_renderer(participant["id"], see, color_format="RGB")
            room.set_audio_renderer(participant["id"], hear, sample_rate=ROOM_HZ)

        def on_participant_left(self, _: Mapping[str, Any], __: str) -> None:
            loop.call_soon_threadsafe(audience.failed, "it left its room")

        def on_error(self, _: str) -> None:
            loop.call_soon_threadsafe(audience.failed, "its room broke")

    room = daily.CallClient(event_handler=Watcher())
    try:
        fault = await _done(lambda told: room.join(url, client_settings=_LISTENING, completion=told))
        if fault:
            raise AvatarFailed(f"its room cannot be entered: {fault}")
        yield room.send_app_message
        await _done(lambda told: room.leave(completion=lambda error: told(None, error)))
    finally:
        room.release()


_LISTENING: Final = {"inputs": {"camera": {"isEnabled": False}, "microphone": {"isEnabled": False}}}


async def _done(ask: Callable[[Callable[[object, str | None], None]], None]) -> str | None:
    """What Daily says of a request that it was given: None when it did it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def settle(error: str | None) -> None:
        if not answer.done():
            answer.set_result(error)

    def told(_: object, error: str | None) -> None:
        loop.call_soon_threadsafe(settle, error)

    ask(told)
    return await answer


Join = Callable[[str, Audience], AbstractAsyncContextManager[Tell]]
