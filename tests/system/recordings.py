"""What the demonstration's callers say, for callers who have no telephone."""

from importlib.resources import files

import numpy as np
import soxr  # type: ignore[import-untyped]

from turncall_testkit.browser import RATE_HZ


def recording(name: str) -> bytes:
    """One of the demonstration's callers, at 16 kHz."""
    wav = files("turncall.demo").joinpath("caller", f"{name}.wav").read_bytes()
    return soxr.resample(np.frombuffer(wav[44:], "<i2"), 8000, RATE_HZ).astype("<i2").tobytes()
