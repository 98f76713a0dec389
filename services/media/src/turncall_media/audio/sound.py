"""How sound is written everywhere in this package: mono s16le, at one rate from the wire to the vendors and back.

A carrier's wire has 8 kHz, a browser's 16; every other rate on the way costs a resampler, and that holds audio back.
"""

from typing import Final

from msgspec import Struct


class Sound(Struct, frozen=True):
    """The sound of one call: mono s16le."""

    rate_hz: int

    @property
    def samples_per_ms(self) -> int:
        """Samples of one side."""
        return self.rate_hz // 1000

    @property
    def bytes_per_ms(self) -> int:
        """Bytes of one side."""
        return 2 * self.samples_per_ms


TELEPHONE: Final = Sound(8000)
WIDEBAND: Final = Sound(16_000)


def duration_ms(pcm: bytes, rate_hz: int) -> int:
    """How long mono s16le lasts."""
    return len(pcm) // 2 * 1000 // rate_hz
