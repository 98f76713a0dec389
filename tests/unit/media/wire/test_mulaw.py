"""Mu-law against the published code points and against its own promise: one step at most."""

import numpy as np
import pytest

from turncall_media.audio import mulaw


@pytest.mark.parametrize(
    ("code", "sample"),
    [
        (0xFF, 0),
        (0x7F, 0),
        (0x80, 32124),
        (0x00, -32124),
        (0xFE, 8),
        (0x7E, -8),
        (0x90, 15996),
        (0xD5, 716),
        (0xCE, 988),
        (0xF2, 104),
    ],
)
def test_code_points(code: int, sample: int) -> None:
    """G.711's own pairs."""
    assert np.frombuffer(mulaw.decode(bytes([code])), "<i2")[0] == sample


def test_every_code_but_negative_zero_survives_a_round_trip() -> None:
    """0x7F is -0 and comes back as +0."""
    codes = bytes(range(256))
    assert [code for code, back in zip(codes, mulaw.encode(mulaw.decode(codes)), strict=True) if code != back] == [0x7F]


def test_every_sample_comes_back_within_one_step() -> None:
    """A step is 8 below 32 and doubles with each of the eight segments; beyond the clip, the largest code."""
    samples = np.arange(-32768, 32768, dtype=np.int32)
    back = np.frombuffer(mulaw.decode(mulaw.encode(samples.astype("<i2").tobytes())), "<i2").astype(np.int32)
    segment = np.floor(np.log2(np.minimum(np.abs(samples), 32635) + 132)).astype(int) - 7
    clipped = np.clip(samples, -32635, 32635)
    assert np.all(np.abs(back - clipped) <= (8 << segment) // 2)


def test_silence_is_silence() -> None:
    """A zero sample is 0xFF on the line."""
    assert mulaw.encode(bytes(4)) == bytes([mulaw.SILENCE, mulaw.SILENCE])


def test_half_a_sample_is_refused() -> None:
    """Audio is whole samples; half a one means that somebody lost a byte."""
    with pytest.raises(ValueError, match="multiple of element size"):
        mulaw.encode(b"\x00\x00\x00")
