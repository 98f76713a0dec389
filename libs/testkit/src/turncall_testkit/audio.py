"""What a listener would say of some sound: how loud it is, and where it is not silent. Mono s16le."""

import math

import numpy as np

FULL_SCALE = 32_768


def level_dbfs(pcm: bytes) -> float:
    """The mean level against full scale: 0 is the loudest square wave, a voice on the phone has -30 to -15, and silence
    minus infinity."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    mean = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    return 20 * math.log10(mean / FULL_SCALE) if mean else -math.inf


def sounding_ms(pcm: bytes, rate_hz: int, *, above_dbfs: float = -50.0, gap_ms: int = 300) -> list[tuple[int, int]]:
    """Stretches of sound as (start, end), in steps of 10 ms; pauses shorter than ``gap_ms`` belong to their stretch."""
    step = rate_hz // 100
    whole = len(pcm) // 2 // step * step
    frames = np.frombuffer(pcm[: 2 * whole], dtype="<i2").astype(np.float64).reshape(-1, step)
    levels = np.sqrt(np.mean(frames**2, axis=1)) / FULL_SCALE
    stretches: list[tuple[int, int]] = []
    for index in np.flatnonzero(levels > 10 ** (above_dbfs / 20)):
        start, end = 10 * int(index), 10 * int(index) + 10
        if stretches and start - stretches[-1][1] < gap_ms:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return stretches
