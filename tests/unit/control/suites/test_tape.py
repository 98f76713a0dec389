"""From two channels of sound to what a caller does, and when."""

from array import array

import numpy as np
import pytest

from turncall_control.suites import tape
from turncall_control.suites.lines import Act, HangUp, Interrupt, Pause, Press, Say, WaitForAgent, WaitForHangUp
from turncall_control.suites.tape import Key, NothingToReplay, acts

RATE_HZ = 8000


def sound(lasts_ms: int, *spans: tuple[int, int], hum: float = 0) -> np.ndarray:
    """Someone who speaks in these spans of milliseconds, on a line that hums."""
    time = np.arange(lasts_ms * RATE_HZ // 1000)
    made = hum * np.sin(time / 3)
    for start, end in spans:
        made[start * 8 : end * 8] += 6000 * np.sin(time[start * 8 : end * 8] / 2)
    return made.astype(np.int16)


def both(caller: np.ndarray, agent: np.ndarray) -> bytes:
    """As recordings hold them: caller left, agent right."""
    return np.stack([caller, agent], axis=1).astype(np.int16).tobytes()


def kinds(done: tuple[Act, ...]) -> list[type[Act]]:
    return [type(act) for act in done]


def test_an_utterance_follows_the_agents_words_by_as_long_as_it_did() -> None:
    """From the agent's last word to the caller's first; the words are the recording's own, pauses within them too."""
    caller = sound(12_000, (4000, 4800), (5200, 6000), (10_000, 10_500))
    agent = sound(12_000, (1000, 3000), (7000, 9000))

    done = acts(both(caller, agent), [], hangs_up=True)

    assert kinds(done) == [WaitForAgent, Say, WaitForAgent, Say, Pause, HangUp]
    first, said, second, *_ = done
    assert isinstance(first, WaitForAgent)
    assert isinstance(second, WaitForAgent)
    assert isinstance(said, Say)
    assert first.silent_ms == pytest.approx(900, abs=40)  # sound begins 100 ms before the word
    assert second.silent_ms == pytest.approx(900, abs=40)
    assert len(said.pcm) / 2 / RATE_HZ == pytest.approx(2.3, abs=0.05)
    kept = np.frombuffer(said.pcm, np.int16)
    assert (kept == caller[3900 * 8 : 6200 * 8]).all()


def test_a_pause_in_the_agents_words_is_not_their_end() -> None:
    """The agent paused for longer than the caller then took to answer: waiting that long alone would cut in."""
    done = acts(both(sound(9000, (6700, 7500)), sound(9000, (1000, 2000), (4000, 6000))), [], hangs_up=False)

    wait = done[0]
    assert isinstance(wait, WaitForAgent)
    assert wait.silent_ms == pytest.approx(2300, abs=60)
    assert kinds(done) == [WaitForAgent, Say, WaitForHangUp]


def test_who_spoke_over_the_agent_does_so_again_even_if_it_says_less() -> None:
    """As far into the agent's words as then, and behind them otherwise."""
    interrupt, *_ = acts(both(sound(6000, (2500, 3500)), sound(6000, (1000, 3000))), [], hangs_up=False)

    assert isinstance(interrupt, Interrupt)
    assert interrupt.after_ms == pytest.approx(1500, abs=40)
    assert interrupt.or_silent_ms is not None


def test_keys_are_pressed_where_they_were_between_words() -> None:
    """On the time line of the recording; a caller who spoke first waits for nobody."""
    done = acts(
        both(sound(6000, (1000, 1500)), sound(6000, (2500, 3500))), [Key(at_ms=4500, digit="5")], hangs_up=False
    )

    assert kinds(done) == [Pause, Say, WaitForAgent, Press, WaitForHangUp]
    pause, press = done[0], done[3]
    assert isinstance(pause, Pause)
    assert isinstance(press, Press)
    assert pause.length_s == pytest.approx(0.9, abs=0.03)
    assert press.digits == "5"


def test_a_line_that_hums_is_not_speech() -> None:
    """What it sounds like in its quietest fifth is its silence; a recording of nothing else is no call to replay."""
    found = tape.bursts(array("h", sound(5000, (2000, 3000), hum=900).tobytes()), 300)
    assert [(span.start_ms, span.end_ms) for span in found] == [(2000, 3000)]
    with pytest.raises(NothingToReplay):
        acts(both(sound(5000, hum=150), sound(5000, (1000, 3000))), [], hangs_up=True)
