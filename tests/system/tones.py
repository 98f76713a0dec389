"""Voices that are one tone, so that what somebody heard tells whom they heard."""

import numpy as np

from turncall_phone.caller import Say
from turncall_phone.tones import tone

CALLER_HZ, PERSON_HZ = 500, 900


def hum(hz: int) -> Say:
    """A voice that is one tone."""
    return Say(pcm=tone((hz,), 700).tobytes())


def loudness(pcm: bytes, hz: int) -> float:
    """How much of a tone is in what was heard."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(abs(np.exp(2j * np.pi * hz * np.arange(len(samples)) / 8000) @ samples)) / 8000
