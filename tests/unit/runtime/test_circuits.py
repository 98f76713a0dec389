"""What the calls of a process tell each other of vendors."""

from typing import Any

from turncall_runtime.circuits import OPEN_S, WITHIN_S, Circuits

ACME = ("llm", "acme", ("",))
MINE = ("llm", "acme", ("https://mine.example/v1",))


class Clock:
    """Seconds that pass when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def broken(clock: Clock) -> Circuits[Any]:
    """Circuits of which one is open."""
    circuits = Circuits(clock)
    circuits.failed(ACME)
    circuits.failed(ACME)
    return circuits


def test_one_failure_is_bad_luck() -> None:
    """Nor do two that lie far apart, or have a success between them, speak against what they broke on."""
    clock = Clock()
    circuits = Circuits(clock)
    circuits.failed(ACME)
    assert circuits.admits(ACME)
    clock.now_s += WITHIN_S + 1
    circuits.failed(ACME)
    assert circuits.admits(ACME)
    circuits.worked(ACME)
    circuits.failed(ACME)
    assert circuits.admits(ACME)


def test_a_vendor_that_keeps_failing_is_left_alone() -> None:
    """But not the same vendor's protocol on a server of the user's own."""
    circuits = broken(Clock())
    assert not circuits.admits(ACME)
    assert circuits.admits(MINE)


def test_one_call_tries_again() -> None:
    """After a while one call is let through; the others follow when it worked, and wait anew when it did not."""
    clock = Clock()
    circuits = broken(clock)
    clock.now_s += OPEN_S
    assert [circuits.admits(ACME) for _ in range(3)] == [True, False, False]
    circuits.failed(ACME)
    clock.now_s += OPEN_S - 1
    assert not circuits.admits(ACME)
    clock.now_s += 1
    assert circuits.admits(ACME)
    circuits.worked(ACME)
    assert [circuits.admits(ACME) for _ in range(3)] == [True, True, True]
