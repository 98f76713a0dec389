"""G.711 mu-law to mono s16le and back, by table: one lookup per sample.

ITU-T G.711: a sign bit, a segment of three bits and a step of four, all inverted on the line; 132 is the bias and
32635 the clip of the 16-bit form.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_BIAS: Final = 132
_CLIP: Final = 32635


def _decode_table() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = (((step << 3) + _BIAS) << segment) - _BIAS
    sample: NDArray[np.int32] = np.where(code & 0x80, -magnitude, magnitude)
    return sample.astype(np.int16)


def _encode_table() -> NDArray[np.uint8]:
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(sample), _CLIP) + _BIAS
    segment = np.floor(np.log2(biased)).astype(np.int32) - 7
    step = (biased >> (segment + 3)) & 15
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.int32] = ~(sign | (segment << 4) | step) & 0xFF
    return code.astype(np.uint8)


_TO_LINEAR: Final = _decode_table()
_TO_MULAW: Final = _encode_table()

SILENCE: Final = 0xFF
"""The mu-law byte of a zero sample."""


def decode(mulaw: bytes) -> bytes:
    """Mono s16le, two bytes for each byte of mu-law."""
    samples: NDArray[np.int16] = _TO_LINEAR[np.frombuffer(mulaw, np.uint8)]
    return samples.tobytes()


def encode(pcm: bytes) -> bytes:
    """One byte of mu-law for each sample of mono s16le. Raises `ValueError` when ``pcm`` holds half a sample."""
    codes: NDArray[np.uint8] = _TO_MULAW[np.frombuffer(pcm, "<u2")]
    return codes.tobytes()
