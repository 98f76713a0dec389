"""The code of the telephone network."""

import numpy as np
import pytest

from turncall_phone import mulaw


@pytest.mark.parametrize(
    ("code", "sample"),
    [(0xFF, 0), (0x7F, 0), (0x80, 32124), (0x00, -32124), (0xFE, 8), (0x7E, -8), (0x90, 15996), (0xD5, 716)],
)
def test_codes_decode_to_their_samples(code: int, sample: int) -> None:
    """Silence, both extremes and the published pairs come out exactly."""
    assert mulaw.decode(bytes([code]))[0] == sample


@pytest.mark.parametrize(("sample", "code"), [(0, 0xFF), (1000, 0xCE), (100, 0xF2), (32767, 0x80), (-32768, 0x00)])
def test_samples_encode_to_their_codes(sample: int, code: int) -> None:
    """Known samples get their codes, and the loudest are clipped rather than wrapped."""
    assert mulaw.encode(np.array([sample], dtype=np.int16)) == bytes([code])


def test_every_code_but_negative_zero_survives_a_round_trip() -> None:
    """0x7F is minus zero and comes back as 0xFF; the other 255 come back as themselves."""
    codes = bytes(range(256))

    assert mulaw.encode(mulaw.decode(codes)) == codes[:0x7F] + b"\xff" + codes[0x80:]


def test_no_sample_is_off_by_more_than_half_a_step() -> None:
    """Over all 65,536 samples the error stays within half the step of its segment, clipping aside."""
    samples = np.arange(-32635, 32636, dtype=np.int16)

    error = np.abs(mulaw.decode(mulaw.encode(samples)).astype(int) - samples)

    assert np.all(error <= np.maximum(8, np.abs(samples.astype(int)) // 16 + 8))
