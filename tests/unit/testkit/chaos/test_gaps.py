"""For how long a caller heard nothing, on made-up lines."""

import numpy as np
import pytest

from turncall_testkit.chaos.gaps import gap_ms, replies_ms

FAULT_MS = 5000


def line(*bursts: tuple[int, int], length_ms: int = 20_000) -> bytes:
    """Mono s16le at 8 kHz with sound between the given milliseconds."""
    samples = np.zeros(length_ms * 8, dtype=np.int16)
    for start_ms, stop_ms in bursts:
        samples[start_ms * 8 : stop_ms * 8 : 2] = 8000
    return samples.tobytes()


@pytest.mark.parametrize(
    ("heard", "said", "gap"),
    [
        (line((4000, 5200), (6500, 7500)), line(), 1500),
        (line((4000, 9000)), line(), 0),
        (line((2000, 3000), (7000, 8000)), line((3500, 4600)), 2000),
        (line((2000, 3000), (7000, 8000)), line((4500, 6000)), 1000),
        (line((2000, 4500), (9000, 9500)), line((6000, 7000)), 2000),
        (line((2000, 2500), (4600, 5300), (8200, 9000)), line((3000, 4000), (6500, 7500)), 700),
        (line((3000, 5100), (16_000, 17_000)), line((14_000, 15_000)), 11_000),
        (line((2000, 3000)), line((3500, 4600)), 15_000),
    ],
    ids=[
        "a sentence that was cut off",
        "a sentence that went on",
        "words that waited for a reply",
        "words that were being said",
        "words that were about to be said",
        "a sentence that ended by itself, and an answer to it",
        "a caller who gave up waiting and spoke",
        "an agent that was never heard again",
    ],
)
def test_a_reply_that_is_owed_is_waited_for(heard: bytes, said: bytes, gap: int) -> None:
    """From the fault, or from the end of the caller's words if that came later."""
    assert gap_ms(heard, said, FAULT_MS) == gap


def test_nothing_is_owed_while_the_caller_thinks() -> None:
    """The agent had finished, and the caller spoke much later."""
    assert gap_ms(line((2000, 4000), (12_000, 13_000)), line((10_000, 11_000)), FAULT_MS) is None


def test_each_reply_is_counted_once() -> None:
    """From the end of the caller's words; not those said over the agent, nor those that were said again unanswered."""
    heard = line((1000, 2000), (5600, 6500), (9000, 12_000), (18_000, 19_000))
    said = line((4000, 5000), (10_000, 11_000), (14_000, 15_000), (16_000, 17_000))
    assert replies_ms(heard, said) == [(5000, 600), (17_000, 1000)]
