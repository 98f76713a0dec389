"""What a caller of a scenario does on the phone. Pure."""

from collections.abc import Iterator
from typing import Final

from turncall_control.suites.lines import (
    Act,
    HangUp,
    Interrupt,
    Noise,
    Pause,
    Press,
    Say,
    WaitForAgent,
    WaitForSilence,
)
from turncall_proto.agent import AgentSpec
from turncall_proto.scenario import InterruptAgent, PressKeys, SayLine, Scenario, Scripted, StaySilent, Step

ANSWERED_AFTER_MS: Final = 1200
"""Silence behind the agent's words by which they are an answer, and not a pause in one."""
PATIENCE_S: Final = 30.0
"""How long a caller waits for the agent before hanging up."""
_PICKED_UP_S: Final = 1.0
"""From picking up to a first word, where the agent leaves that to the caller."""


def acts(scenario: Scenario, agent: AgentSpec) -> tuple[Act, ...]:
    """A scripted caller, who hangs up behind the last answer."""
    assert isinstance(scenario.caller, Scripted)
    found: list[Act] = []
    if scenario.sound.noise_snr_db is not None:
        found.append(Noise(snr_db=scenario.sound.noise_snr_db))
    wait: Act = _answered() if agent.first_message.strip() else Pause(length_s=_PICKED_UP_S)
    for step in scenario.caller.steps:
        found += _acts(step, wait, scenario.sound.voice)
        # Nothing need be said to a silence.
        quiet = WaitForSilence(silent_ms=ANSWERED_AFTER_MS, timeout_s=PATIENCE_S)
        wait = quiet if isinstance(step, StaySilent) else _answered()
    return (*found, wait, HangUp())


def _acts(step: Step, wait: Act, voice: str) -> Iterator[Act]:
    match step:
        case SayLine():
            yield from (wait, Say(text=step.text, voice=voice))
        case InterruptAgent():
            yield Interrupt(say=Say(text=step.text, voice=voice), after_ms=step.after_ms, timeout_s=PATIENCE_S)
        case StaySilent():
            yield from (wait, Pause(length_s=step.length_ms / 1000))
        case PressKeys():
            yield from (wait, Press(digits=step.digits))


def _answered() -> WaitForAgent:
    return WaitForAgent(silent_ms=ANSWERED_AFTER_MS, timeout_s=PATIENCE_S)
