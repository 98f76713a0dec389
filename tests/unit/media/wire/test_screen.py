"""What a page sees of an avatar."""

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from turncall_media.stages.avatars import Picture
from turncall_media.wire.screen import Screen, ScreenTrack


def picture(width: int, height: int, red: int) -> Picture:
    """One colour all over."""
    return Picture(rgb=bytes((red, 0, 0)) * (width * height), width=width, height=height)


async def test_the_newest_picture_is_sent_pixel_by_pixel() -> None:
    """One that nobody took in time is passed over; rows of odd lengths keep their places."""
    screen = Screen()
    track = ScreenTrack(screen)
    screen.show(picture(50, 30, 1))
    screen.show(picture(50, 30, 200))
    frame = await track.recv()
    assert (frame.width, frame.height) == (50, 30)
    assert np.array_equal(frame.to_ndarray(format="rgb24"), np.full((30, 50, 3), (200, 0, 0), np.uint8))
    screen.show(picture(50, 30, 7))
    later = await track.recv()
    assert later.pts > frame.pts
    track.stop()
    screen.show(picture(50, 30, 9))
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_large_pictures_are_made_smaller() -> None:
    """In both directions alike, to even lengths."""
    screen = Screen()
    screen.show(picture(1280, 722, 100))
    frame = await ScreenTrack(screen).recv()
    assert (frame.width, frame.height) == (640, 360)
