"""Scripts of callers, on a line that is ticked by hand."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from turncall_phone import Call, HangUp, Interrupt, Pause, Press, Say, WaitForAgent, WaitForHangUp, WaitForSilence
from turncall_phone.caller import AnyStep, follow
from turncall_phone.calls import EndOrder
from turncall_phone.journal import KeyPressed, ScriptEnded
from turncall_phone.playout import FRAME_SAMPLES

FRAME = np.full(FRAME_SAMPLES, 4000, dtype=np.int16)


def pcm(length_ms: int) -> bytes:
    """Loud sound."""
    return FRAME.tobytes() * (length_ms // 20)


async def play(
    call: Call, script: Sequence[AnyStep], length_ms: int, *, agent: Callable[[int], bool] = lambda _: False
) -> None:
    """Follow `script` for `length_ms` of the call; the agent makes a sound in the frames that `agent` picks."""
    task = asyncio.create_task(follow(script, call, lambda text: pcm(100 * len(text.split()))))
    for _ in range(length_ms // 20):
        for _ in range(3):
            await asyncio.sleep(0)
        if agent(call.line.at_ms):
            call.line.ear.feed(FRAME)
        call.line.tick()
    for _ in range(3):
        await asyncio.sleep(0)
    call.line.close()
    await task


def spoken(recording: bytes) -> tuple[int, int]:
    """Where the first sound begins and the last one ends, in ms."""
    loud = np.flatnonzero(np.frombuffer(recording, np.int16))
    return int(loud[0]) // 8, (int(loud[-1]) + 1) // 8


async def test_a_caller_answers_once_the_agent_has_spoken_and_fallen_silent(call: Call) -> None:
    """The reply starts `silent_ms` after the greeting's last sound, word gaps notwithstanding."""
    greeting = lambda at: 200 <= at < 600 or 800 <= at < 1000  # noqa: E731 - one expression of time
    await play(call, [WaitForAgent(silent_ms=400), Say(pcm=pcm(300))], 3000, agent=greeting)

    assert spoken(call.heard) == (200, 1000)
    assert spoken(call.said) == (1400, 1700)


async def test_each_wait_for_the_agent_wants_new_words(call: Call) -> None:
    """The greeting does not count as the answer to what the caller said after it."""
    script = [WaitForAgent(silent_ms=200), Say(pcm=pcm(200)), WaitForAgent(silent_ms=200), Say(pcm=pcm(100))]
    await play(call, script, 3000, agent=lambda at: at < 400 or 1600 <= at < 2000)

    assert spoken(call.said) == (600, 2300)


async def test_an_interruption_comes_while_the_agent_speaks(call: Call) -> None:
    """The caller speaks over the agent `after_ms` into the agent's words."""
    await play(call, [Interrupt(after_ms=500, say=Say(pcm=pcm(200)))], 2000, agent=lambda at: 100 <= at < 1500)

    assert spoken(call.said) == (600, 800)


async def test_keys_are_pressed_one_after_the_other(call: Call) -> None:
    """Each key has its own 200 ms, and the journal keeps it."""
    keys: list[tuple[int, str]] = []
    call.line.on_key = lambda digit: keys.append((call.line.at_ms, digit))
    await play(call, [Press(digits="4#")], 400)

    assert keys == [(100, "4"), (300, "#")]
    assert call.journal_of_carrier.facts(KeyPressed) == (
        KeyPressed(digit="4", taken=True),
        KeyPressed(digit="#", taken=True),
    )


async def test_a_key_that_nobody_listens_for_is_noted_as_lost(call: Call) -> None:
    """Without a stream the key goes nowhere, and the journal says so."""
    await play(call, [Press(digits="1")], 200)

    assert call.journal_of_carrier.facts(KeyPressed) == (KeyPressed(digit="1", taken=False),)


async def test_pauses_and_silences_are_measured_on_the_line(call: Call) -> None:
    """A pause of half a second, then 200 ms of silence, put the words where they belong."""
    script = [Pause(length_s=0.5), WaitForSilence(silent_ms=200), Say(pcm=pcm(100))]
    await play(call, script, 2000, agent=lambda at: 400 <= at < 800)

    assert spoken(call.said) == (1000, 1100)


async def test_hanging_up_orders_the_end_of_the_call(call: Call) -> None:
    """The caller's last step puts the phone down."""
    await play(call, [Pause(length_s=0.1), HangUp()], 200)

    assert call.orders.get_nowait() == EndOrder(by="caller")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (WaitForAgent(timeout_s=0.4), "WaitForAgent: the agent was not heard"),
        (Interrupt(say=Say(text="hey"), timeout_s=0.4), "Interrupt: the agent did not speak enough"),
        (WaitForHangUp(timeout_s=0.4), "WaitForHangUp: the other side did not end the call"),
    ],
)
async def test_a_step_that_waits_in_vain_ends_the_call_and_says_which(call: Call, step: AnyStep, reason: str) -> None:
    """The journal names the step, and the caller hangs up."""
    await play(call, [step], 1000)

    (ended,) = call.journal_of_carrier.facts(ScriptEnded)
    assert ended.failure is not None
    assert ended.failure.startswith(reason)
    assert call.orders.get_nowait() == EndOrder(by="caller")


def test_a_caller_says_one_thing_at_a_time() -> None:
    """Nothing to say, or two things at once, is refused where the script is written."""
    with pytest.raises(ValueError, match="exactly one"):
        Say()
    with pytest.raises(ValueError, match="exactly one"):
        Say(text="hello", pcm=pcm(20))
    with pytest.raises(ValueError, match="no key"):
        Press(digits="12x")
