"""The far end of a call: a script that speaks, listens, presses keys and hangs up, and how a called phone behaves."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from turncall_phone.calls import Call
from turncall_phone.journal import ScriptEnded
from turncall_phone.line import LineClosed
from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ
from turncall_phone.speech import SPOKEN_RMS, Speak
from turncall_phone.tones import GAP_MS, KEYS, TONE_MS, noise, tone
from turncall_phone.wav import read_wav

# Less sound than this is a click, not an agent.
HEARD_MS = 60


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step"):
    """One thing that a caller does; all times run on the call's own clock."""


class Say(Step, frozen=True, kw_only=True, tag="say"):
    """Say one of: `text` (in the carrier's voice, or an espeak-ng `voice`), the WAV file at `wav`, or `pcm` (mono s16le
    at 8 kHz)."""

    text: str = ""
    wav: str = ""
    pcm: bytes = b""
    voice: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.text, self.wav, self.pcm))) != 1:
            raise ValueError("say exactly one of text, wav or pcm")
        if self.voice and not self.text:
            raise ValueError("a voice is for a text: sound has its own")


class Noise(Step, frozen=True, kw_only=True, tag="noise"):
    """From here on the line carries noise, `snr_db` below the carrier's voice."""

    snr_db: float


class WaitForAgent(Step, frozen=True, kw_only=True, tag="wait_for_agent"):
    """Wait until the agent has been heard since the caller last spoke, and then been silent for `silent_ms`."""

    silent_ms: int = 800
    timeout_s: float = 20.0


class WaitForSilence(Step, frozen=True, kw_only=True, tag="wait_for_silence"):
    """Wait until nothing has been heard for `silent_ms`, whether or not anything was."""

    silent_ms: int = 800
    timeout_s: float = 20.0


class Pause(Step, frozen=True, kw_only=True, tag="pause"):
    """Stay silent for `length_s`."""

    length_s: float


class Press(Step, frozen=True, kw_only=True, tag="press"):
    """Press keys, 100 ms each with gaps of 100 ms."""

    digits: str

    def __post_init__(self) -> None:
        if not self.digits or not set(self.digits.upper()) <= set(KEYS):
            raise ValueError(f"{self.digits!r} holds what is no key: use {KEYS}")


class Interrupt(Step, frozen=True, kw_only=True, tag="interrupt"):
    """Wait until the agent has been speaking for `after_ms` at a stretch, then speak over it.

    With `or_silent_ms`, an agent who says less is answered once it was heard and then silent for so long.
    """

    say: Say
    after_ms: int = 1000
    or_silent_ms: int | None = None
    timeout_s: float = 20.0


class HangUp(Step, frozen=True, kw_only=True, tag="hang_up"):
    """Put the phone down."""


class WaitForHangUp(Step, frozen=True, kw_only=True, tag="wait_for_hang_up"):
    """Wait until the other side ends the call."""

    timeout_s: float = 30.0


class Beep(Step, frozen=True, kw_only=True, tag="beep"):
    """Sound the tone after which an answering machine records: `call.recorded` begins behind it."""

    hz: int = 1000
    length_ms: int = 400


type AnyStep = Beep | Say | Noise | WaitForAgent | WaitForSilence | Pause | Press | Interrupt | HangUp | WaitForHangUp


type RefusalCode = Literal[10004, 13227, 20005, 21210, 21211, 21214, 21215, 21216, 21217, 21219]


class CalledPhone(msgspec.Struct, frozen=True, kw_only=True, tag_field="phone"):
    """How a called number behaves."""


class Answers(CalledPhone, frozen=True, kw_only=True, tag="answers"):
    """Picks up after ringing for `after_s`, then follows `script`."""

    after_s: float = 0.1
    script: tuple[AnyStep, ...] = ()


class Machine(CalledPhone, frozen=True, kw_only=True, tag="machine"):
    """An answering machine: picks up after `after_s`, says `greeting`, beeps unless `beep` is None, and records until
    nothing has been heard for `hangs_up_after_s`."""

    greeting: Say
    after_s: float = 0.1
    beep: Beep | None = Beep()
    hangs_up_after_s: float = 10.0

    @property
    def script(self) -> tuple[AnyStep, ...]:
        """What it does, as a caller would."""
        beep = (self.beep,) if self.beep is not None else ()
        hear = WaitForSilence(silent_ms=round(self.hangs_up_after_s * 1000), timeout_s=300.0)
        return (Pause(length_s=0.3), self.greeting, Pause(length_s=0.4), *beep, hear, HangUp())


class Busy(CalledPhone, frozen=True, kw_only=True, tag="busy"):
    """Rings for `after_s`, then is busy."""

    after_s: float = 0.1


class NeverAnswers(CalledPhone, frozen=True, kw_only=True, tag="never_answers"):
    """Rings until the caller's ring timeout."""


class Unreachable(CalledPhone, frozen=True, kw_only=True, tag="unreachable"):
    """Cannot be routed: fails without ringing."""


class Declines(CalledPhone, frozen=True, kw_only=True, tag="declines"):
    """Rings for `after_s`, then is declined by the person called: busy, with SIP answer 603."""

    after_s: float = 0.1


class Refused(CalledPhone, frozen=True, kw_only=True, tag="refused"):
    """A number that the carrier does not call for this account: REST refuses with `code`, and there is no call."""

    code: RefusalCode


type AnyPhone = Answers | Machine | Busy | NeverAnswers | Unreachable | Declines | Refused


class StepFailed(Exception):
    """A step did not get what it waited for."""


async def follow(script: Sequence[AnyStep], call: Call, speak: Speak) -> None:
    """Carry out `script` on an answered call; the caller stays on the line after the last step.

    A step that waits in vain ends the call, and the journal says which one. The end of the call ends the script.
    """
    listener = _Listener(call, speak)
    step: AnyStep | None = None
    try:
        for step in script:
            await listener.carry_out(step)
    except LineClosed:
        call.journal_of_carrier.add(ScriptEnded(failure=None), call.sid)
    except (StepFailed, OSError, ValueError) as error:
        call.journal_of_carrier.add(ScriptEnded(failure=f"{type(step).__name__}: {error}"), call.sid)
        call.hang_up()
    else:
        call.journal_of_carrier.add(ScriptEnded(failure=None), call.sid)


def spoken(script: Sequence[AnyStep]) -> Iterator[Say]:
    """All that a script says."""
    for step in script:
        if isinstance(step, Say):
            yield step
        elif isinstance(step, Interrupt):
            yield step.say


async def samples_of(say: Say, speak: Speak) -> Samples:
    """What `say` sounds like: int16 at 8 kHz; raises OSError or ValueError for a file that cannot be read."""
    if say.text:
        return np.frombuffer(await asyncio.to_thread(speak, say.text, say.voice), dtype=np.int16)
    if say.wav:
        return read_wav(await asyncio.to_thread(Path(say.wav).read_bytes))
    return np.frombuffer(say.pcm, dtype=np.int16)


class _Listener:
    """A caller who remembers how much of the agent was heard when they last acted."""

    def __init__(self, call: Call, speak: Speak) -> None:
        self._call = call
        self._line = call.line
        self._speak = speak
        self._heard_ms = 0

    async def carry_out(self, step: AnyStep) -> None:
        agent = self._line.agent
        match step:
            case Say():
                await self._say(step)
            case Noise():
                self._line.surround(noise(SPOKEN_RMS * 10 ** (-step.snr_db / 20)))
            case Beep():
                await self._line.speak(tone((step.hz,), step.length_ms, amplitude=9000.0))
                self._call.note_beep()
            case WaitForAgent():
                deadline = self._in(step.timeout_s)
                wanted_ms = self._heard_ms + HEARD_MS
                await self._until(lambda: agent.spoken_ms >= wanted_ms, deadline, "the agent was not heard")
                await self._quiet(step.silent_ms, deadline)
                self._heard_ms = agent.spoken_ms
            case WaitForSilence():
                await self._quiet(step.silent_ms, self._in(step.timeout_s))
            case Pause():
                await self._line.wait_ms(step.length_s * 1000)
            case Press():
                await self._press(step.digits)
            case Interrupt():
                deadline = self._in(step.timeout_s)
                speaks = partial(self._speaks_or_has_spoken, step)
                await self._until(speaks, deadline, "the agent did not speak enough")
                await self._say(step.say)
            case HangUp():
                self._call.hang_up()
                await self._line.until(lambda: False)
            case WaitForHangUp():
                await self._until(lambda: False, self._in(step.timeout_s), "the other side did not end the call")

    async def _say(self, say: Say) -> None:
        await self._line.speak(await samples_of(say, self._speak))
        self._heard_ms = self._line.agent.spoken_ms

    async def _press(self, digits: str) -> None:
        for digit in digits:
            await self._line.wait_ms(TONE_MS)
            self._call.press(digit)
            await self._line.wait_ms(GAP_MS)

    def _speaks_or_has_spoken(self, step: Interrupt) -> bool:
        agent = self._line.agent
        if agent.burst_ms >= step.after_ms or step.or_silent_ms is None:
            return agent.burst_ms >= step.after_ms
        return agent.spoken_ms >= self._heard_ms + HEARD_MS and agent.silent_ms >= step.or_silent_ms

    async def _quiet(self, silent_ms: int, deadline: int) -> None:
        await self._until(
            lambda: self._line.agent.silent_ms >= silent_ms, deadline, f"the agent was not silent for {silent_ms} ms"
        )

    def _in(self, seconds: float) -> int:
        return self._line.position + round(seconds * RATE_HZ)

    async def _until(self, holds: Callable[[], bool], deadline: int, failure: str) -> None:
        await self._line.until(lambda: holds() or self._line.position >= deadline)
        if not holds():
            raise StepFailed(f"{failure} in time ({self._line.at_ms} ms into the call)")
