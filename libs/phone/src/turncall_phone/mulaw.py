"""G.711 mu-law by table: 8-bit codes to and from 16-bit samples."""

import numpy as np
import numpy.typing as npt

type Samples = npt.NDArray[np.int16]

SILENCE = 0xFF
_BIAS = 132
_CLIP = 32635


def _decode_table() -> Samples:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent = (code >> 4) & 0x07
    mantissa = code & 0x0F
    magnitude = (((mantissa << 3) + _BIAS) << exponent) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _encode_table() -> npt.NDArray[np.uint8]:
    sample = np.arange(-32768, 32768, dtype=np.int32)
    biased = np.minimum(np.abs(sample), _CLIP) + _BIAS
    exponent = np.floor(np.log2(biased)).astype(np.int32) - 7
    mantissa = (biased >> (exponent + 3)) & 0x0F
    code = np.where(sample < 0, 0x80, 0) | (exponent << 4) | mantissa
    table = (~code & 0xFF).astype(np.uint8)
    # Indexed by the sample's bit pattern as an unsigned number, so that a view needs no addition.
    return np.roll(table, -32768)


_DECODE = _decode_table()
_ENCODE = _encode_table()


def decode(codes: bytes) -> Samples:
    """One int16 sample per mu-law byte."""
    return _DECODE[np.frombuffer(codes, dtype=np.uint8)]


def encode(samples: Samples) -> bytes:
    """One mu-law byte per int16 sample; +0 for silence (0xFF)."""
    return _ENCODE[np.ascontiguousarray(samples).view(np.uint16)].tobytes()
