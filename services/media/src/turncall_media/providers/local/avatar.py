"""A drawn face whose mouth follows the voice: no key, no network, next to no processor time."""

import asyncio
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from turncall_media.stages.avatars import Audience, Picture
from turncall_media.stages.kinds import BuildContext, Capabilities

CAPABILITIES = Capabilities(needs_secret=False)

_LOUD: Final = 6000.0
"""Root mean square at which the mouth is wide open."""
_BLINKS_EVERY_S: Final = 4.0
_BLINKS_FOR_S: Final = 0.15
_PAPER, _SKIN, _DARK = (236, 240, 244), (243, 205, 170), (60, 52, 58)


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the face is drawn."""

    size_px: Annotated[int, Meta(ge=64, le=512, multiple_of=2, description="Width and height.")] = 240
    frames_per_s: Annotated[int, Meta(ge=5, le=25)] = 15


def build(options: Options, context: BuildContext) -> "DrawnAvatar":
    """The face of one call."""
    return DrawnAvatar(options, context.rate_hz)


class DrawnAvatar:
    """Draws a frame at each tick, with the mouth as wide as the sound of that tick is loud."""

    def __init__(self, options: Options, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._options = options
        self._unsaid = bytearray()
        self._is_speaking = False
        self._drawing: asyncio.Task[None] | None = None

    async def begin(self, audience: Audience) -> None:
        """Draws from here on."""
        self._drawing = asyncio.create_task(self._draw(audience), name="drawn avatar")

    async def speak(self, pcm: bytes) -> None:
        """Appends to what it is to say."""
        self._unsaid += pcm

    async def pause(self) -> None:
        """It sees by itself that nothing is left to say."""

    async def interrupt(self) -> None:
        """Shuts its mouth."""
        self._unsaid.clear()

    async def close(self) -> None:
        """Draws no more."""
        if self._drawing is not None:
            self._drawing.cancel()

    async def _draw(self, audience: Audience) -> None:
        frames, tick_s = 0, 1 / self._options.frames_per_s
        tick_bytes = 2 * int(self.rate_hz * tick_s)
        began_s = asyncio.get_running_loop().time()
        while True:
            said = bytes(self._unsaid[:tick_bytes])
            del self._unsaid[:tick_bytes]
            if said and not self._is_speaking:
                audience.voiced()
            self._is_speaking = bool(said)
            rgb = drawn(
                self._options.size_px, _openness(said), is_blinking=frames * tick_s % _BLINKS_EVERY_S < _BLINKS_FOR_S
            )
            audience.show(Picture(rgb=rgb.tobytes(), width=rgb.shape[1], height=rgb.shape[0]))
            frames += 1
            await asyncio.sleep(began_s + frames * tick_s - asyncio.get_running_loop().time())


def _openness(pcm: bytes) -> float:
    """0 for silence, 1 for a wide open mouth."""
    samples = np.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2").astype(np.float32)
    return min(1.0, float(np.sqrt(np.mean(samples**2))) / _LOUD) if samples.size else 0.0


def drawn(size_px: int, openness: float, *, is_blinking: bool = False) -> NDArray[np.uint8]:
    """The face as rows of pixels of red, green and blue."""
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    image = np.empty((size_px, size_px, 3), np.uint8)
    image[:] = _PAPER
    image[_ellipse(x, y, 0.5, 0.5, 0.34, 0.42)] = _SKIN
    for side in (0.37, 0.63):
        image[_ellipse(x, y, side, 0.42, 0.035, 0.006 if is_blinking else 0.045)] = _DARK
    image[_ellipse(x, y, 0.5, 0.68, 0.12, 0.008 + 0.1 * openness)] = _DARK
    return image


def _ellipse(
    x: NDArray[np.float64], y: NDArray[np.float64], at_x: float, at_y: float, width: float, height: float
) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = ((x - at_x) / width) ** 2 + ((y - at_y) / height) ** 2 <= 1
    return inside
