"""The picture that a page sees beside the sound: the newest frame of the agent's avatar, as a track of video."""

import asyncio
import time
from fractions import Fraction
from typing import Final

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame

from turncall_media.stages.avatars import Picture

_CLOCK_HZ: Final = 90_000
"""Of video on RTP (RFC 3551)."""
WIDEST_PX: Final = 640
"""Larger pictures are made smaller: they are encoded on the core that carries the calls."""
FRAME_S: Final = 0.04
"""No more frames than 25 in a second, for the same reason."""


class Screen:
    """What one call shows. A frame that nobody took before the next one came is passed over."""

    def __init__(self) -> None:
        self._picture: Picture | None = None
        self._news = asyncio.Event()

    def show(self, picture: Picture) -> None:
        """Replaces the picture."""
        self._picture = picture
        self._news.set()

    async def take(self) -> Picture:
        """The next picture, once there is one."""
        while self._picture is None:
            self._news.clear()
            await self._news.wait()
        picture, self._picture = self._picture, None
        return picture


class ScreenTrack(MediaStreamTrack):
    """One connection's view of a `Screen`; aiortc asks it for frames, and stops it. Without pictures nothing is sent,
    and the browser says that the track is muted."""

    kind = "video"

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self._began_s = self._due_s = time.monotonic()

    async def recv(self) -> VideoFrame:
        """The next frame. Raises `MediaStreamError` once the track is stopped."""
        await asyncio.sleep(max(0.0, self._due_s - time.monotonic()))
        picture = await self._screen.take()
        self._due_s = time.monotonic() + FRAME_S
        if self.readyState != "live":
            raise MediaStreamError
        frame = VideoFrame(picture.width, picture.height, "rgb24")
        plane, row = frame.planes[0], 3 * picture.width
        if plane.line_size == row:
            plane.update(picture.rgb)
        else:  # rows are padded
            pad = bytes(plane.line_size - row)
            plane.update(b"".join(picture.rgb[at : at + row] + pad for at in range(0, len(picture.rgb), row)))
        if frame.width > WIDEST_PX:
            frame = frame.reformat(width=WIDEST_PX, height=frame.height * WIDEST_PX // frame.width // 2 * 2)
        frame.pts = int((time.monotonic() - self._began_s) * _CLOCK_HZ)
        frame.time_base = Fraction(1, _CLOCK_HZ)
        return frame
