"""For how long a caller who was owed a reply heard nothing. Pure, over what the carrier played and recorded."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FRAME_MS: Final = 20
FRAME_BYTES: Final = 2 * 8 * FRAME_MS
LOUD: Final = 200.0
PAUSE_FRAMES: Final = 300 // FRAME_MS
"""A silence shorter than this lies between two words."""
CUT_FRAMES: Final = 1000 // FRAME_MS
"""An agent that falls silent this soon after a fault may have been cut off by it; audio ahead of time plays on."""
SOON_FRAMES: Final = 3000 // FRAME_MS

Frames = NDArray[np.bool_]
Burst = tuple[int, int]
"""First frame of speech and the first of the silence behind it."""


def loud(pcm: bytes) -> Frames:
    """Which 20 ms of mono s16le at 8 kHz hold sound."""
    samples = np.frombuffer(pcm[: len(pcm) // FRAME_BYTES * FRAME_BYTES], dtype="<i2").astype(np.float32)
    frames = samples.reshape(-1, FRAME_BYTES // 2)
    return np.sqrt((frames**2).mean(axis=1)) > LOUD


def bursts(frames: Frames) -> list[Burst]:
    """The stretches of speech, gaps between words included."""
    found: list[Burst] = []
    for frame in np.flatnonzero(frames):
        if found and frame - found[-1][1] < PAUSE_FRAMES:
            found[-1] = (found[-1][0], int(frame) + 1)
        else:
            found.append((int(frame), int(frame) + 1))
    return found


def gap_ms(heard: bytes, said: bytes, fault_ms: int) -> int | None:
    """How long after a fault the agent was heard again; None when it owed nothing around that moment.

    It owed the rest of a sentence that the fault cut off (counted from the fault), or a reply to words of the caller
    that had ended, were being said, or began within three seconds (counted from the later of the fault and their end).
    0: it spoke through the fault. An agent that was never heard again owes until the end of the audio.
    """
    fault = fault_ms // FRAME_MS
    agent, caller = bursts(loud(heard)), bursts(loud(said))
    end = len(heard) // FRAME_BYTES
    speaking = next((burst for burst in agent if burst[0] <= fault < burst[1]), None)
    if speaking is not None:
        if speaking[1] - fault > CUT_FRAMES:
            return 0
        again = next((start for start, _ in agent if start > speaking[1]), end)
        answered = next((start for start, _ in caller if start > fault), end)
        if again < answered or answered - fault > SOON_FRAMES:  # a caller who is not cut off from a sentence answers
            return (again - fault) * FRAME_MS
    agents_last = max((stop for start, stop in agent if start <= fault), default=0)
    owed = [stop for start, stop in caller if start <= fault + SOON_FRAMES and stop > agents_last]
    if not owed:
        return None
    since = max(fault, owed[0])
    return (next((start for start, _ in agent if start >= since), end) - since) * FRAME_MS


def replies_ms(heard: bytes, said: bytes) -> list[tuple[int, int]]:
    """For each time the caller's words were answered: where they ended, and how long after that the agent was heard.

    What the caller said when the agent was speaking is left out, and so is what got no answer before the next words.
    """
    agent, caller = bursts(loud(heard)), bursts(loud(said))
    found: list[tuple[int, int]] = []
    for index, (start, end) in enumerate(caller):
        following = caller[index + 1][0] if index + 1 < len(caller) else len(heard) // FRAME_BYTES
        is_over_agent = any(begun <= end and stopped > start for begun, stopped in agent)
        answer = next((begun for begun, _ in agent if end < begun < following), None)
        if answer is not None and not is_over_agent:
            found.append((end * FRAME_MS, (answer - end) * FRAME_MS))
    return found
