"""The bench of density: how many calls one core bears, here and with a plain Pipecat bot before the same crowd."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from turncall import procfs
from turncall.capacity.cores import CORES, pin
from turncall.capacity.knee import Subject, climb, idle, join, knee, sampled
from turncall.capacity.sample import GIVEN_UP_S, Sample
from turncall.process import Process, free_port
from turncall_phone import mulaw
from turncall_phone.crowd import Crowd, CrowdCaller, words
from turncall_phone.handset import UTTERANCE_GAP_S
from turncall_phone.playout import RATE_HZ
from turncall_testkit.bench import talk
from turncall_testkit.bench.measured import Measured, Size, figure
from turncall_testkit.bench.pace import Pace, pacing
from turncall_testkit.bench.report import Figure
from turncall_testkit.bench.spending import loop_ms, per_second, spent
from turncall_testkit.bench.spending import sampled as profiled
from turncall_testkit.bench.studio import ACCOUNT, PAUSE_MS, REPLY_S, SIMULATED_MS, STOP_WINDOW_MS, Studio
from turncall_testkit.chaos.machine import watching
from turncall_testkit.vendors.tones import tone

TO_BEAR: Final = 60
TO_BEAR_SMART: Final = 40
CYCLE_S: Final = 7.0
"""Between two times that a caller speaks: words, the stop window, a reply, and what is left to say nothing in."""
WINDOW_S: Final = 7.0
ROUNDS_EACH: Final = 5
"""A ramp holds many measurements: one for so many rounds of other benches."""
TINY: Final = 0.1
"""From here down, one call is measured once."""
TINY_S: Final = 1.0
ANSWERED_WITHIN_S: Final = 120.0
PROFILED_SHARE: Final = 0.7
"""Of the knee: a worker that has to hurry does other things."""
TONE_HZ: Final = 440.0
READY_WITHIN_S: Final = 60.0


class Unsound(Exception):
    """What a caller heard at the knee is not what the vendor said; the message says how it differs."""


class Ramp(Struct, frozen=True, kw_only=True):
    """One contestant's climb. ``answered`` callers got an answer at least once; ``slowness`` of the core meanwhile;
    ``first_bytes`` it held before the first call."""

    samples: list[Sample]
    answered: int
    slowness: float
    first_bytes: int

    @property
    def knee(self) -> Sample | None:
        """The largest crowd that did not suffer."""
        return knee(self.samples)

    @property
    def bore(self) -> int:
        """How many calls that is; 0 when even the first ones suffered."""
        return self.knee.calls if self.knee is not None else 0

    @property
    def last(self) -> Sample:
        """The same, or the first crowd when even that suffered."""
        return self.knee or self.samples[0]

    @property
    def each_bytes(self) -> float:
        """Memory that one call of it took."""
        return (self.last.resident_bytes - self.first_bytes) / self.last.calls

    def of_at_least(self, calls: int) -> Sample:
        """The first crowd of so many; the largest when there was none."""
        return next((sample for sample in self.samples if sample.calls >= calls), self.samples[-1])


async def calls(studio: Studio, size: Size, folder: Path) -> Measured:
    """Ramps of three contestants, one after another on the same core: ours, Pipecat at its rates, Pipecat at 8 kHz.

    Raises `Unsound`, and `NotTaken` when a contestant takes no calls.
    """
    ours, stock, lean = list[Ramp](), list[Ramp](), list[Ramp]()
    capacities, loops_ms = list[dict[str, float]](), list[tuple[float, float]]()
    profile: dict[str, float] = {}
    async with watching() as watch, pacing(min(CORES)) as pace:
        for _ in range(max(1, size.rounds // ROUNDS_EACH)):
            loops_ms.append(loop_ms())
            used = spent(studio.pids)
            for ramps, ramp in zip((ours, stock, lean), await _contest(studio, size, pace, folder), strict=True):
                ramps.append(ramp)
            served = sum(round(sample.calls * sample.lasted_s) for sample in ours[-1].samples)
            capacities.append(per_second(served, used, spent(studio.pids)))
        if size.has_profile:
            profile = await _profile(studio, max(2, round(PROFILED_SHARE * ours[-1].bore)), folder)
        load = watch.load()
    return Measured(
        unit="call seconds",
        figures=_figures(ours, stock, lean),
        capacities=tuple(capacities),
        profile=profile,
        profiled="the worker",
        load=load,
        loops_ms=tuple(loops_ms),
        counted={
            "callers answered": sum(ramp.answered for ramp in ours),
            "callers of plain bots answered": sum(ramp.answered for ramp in (*stock, *lean)),
            "turns measured": sum(sample.turns for ramp in (*ours, *stock, *lean) for sample in ramp.samples),
        },
    )


async def smart_turn(studio: Studio, size: Size, folder: Path) -> Measured:
    """One climb of calls in which a model hears at each pause whether the caller is done.

    Answers may take what they may without it, the agent's silence timeout included. Raises `Unsound`.
    """
    loops_ms, used = [loop_ms()], spent(studio.pids)
    async with watching() as watch, pacing(min(CORES)) as pace:
        ramp = await _ramp(_ours(studio), size, pace, _sound())
        served = sum(round(sample.calls * sample.lasted_s) for sample in ramp.samples)
        capacity = per_second(served, used, spent(studio.pids))
        profile = await _profile(studio, max(2, round(PROFILED_SHARE * ramp.bore)), folder) if size.has_profile else {}
        load = watch.load()
    added_ms = _added([ramp.last])[0] + STOP_WINDOW_MS - PAUSE_MS
    return Measured(
        unit="call seconds",
        figures=(
            figure("P3", "smart turn", "calls on one core", "calls", [ramp.bore], TO_BEAR_SMART),
            figure("P4", "smart turn", f"added to a pause of {PAUSE_MS} ms, p50", "ms", [added_ms], None),
            figure("P7", "smart turn", "memory of a call", "MB", [ramp.each_bytes / 1e6], 3, is_upward=False),
        ),
        capacities=(capacity,),
        profile=profile,
        profiled="the worker",
        load=load,
        loops_ms=tuple(loops_ms),
        counted={"callers answered": ramp.answered, "turns measured": sum(one.turns for one in ramp.samples)},
    )


def _figures(ours: Sequence[Ramp], stock: Sequence[Ramp], lean: Sequence[Ramp]) -> tuple[Figure, ...]:
    """Of the ramps of the three contestants, round by round."""
    last = [ramp.last for ramp in ours]
    asked = [ramp.of_at_least(TO_BEAR) for ramp in ours]
    times = [one.bore / max(1, other.bore) for one, other in zip(ours, lean, strict=True)]
    cpu_ms = [sample.cpu_ms / ramp.slowness for sample, ramp in zip(last, ours, strict=True)]
    return (
        figure("P3", "calls", "on one core", "calls", [ramp.bore for ramp in ours], TO_BEAR),
        figure("P3", "calls", "by a plain Pipecat bot at its own rates", "calls", [ramp.bore for ramp in stock], None),
        figure("P3", "calls", "by a plain Pipecat bot at 8 kHz", "calls", [ramp.bore for ramp in lean], None),
        figure("P3", "calls", "as many as a plain bot at 8 kHz", "times", times, 3),
        figure("P3", "calls", "CPU for each second of a call, on a fast core", "ms", cpu_ms, 10, is_upward=False),
        figure("P4", "calls", "added to a reply at the most calls, p50", "ms", _added(last), 40, is_upward=False),
        figure("P4", "calls", f"the same at {TO_BEAR} calls", "ms", _added(asked), 40, is_upward=False),
        figure("P4", "calls", "loop lag at the most calls, p50", "ms", _lags(last, 0), None),
        figure("P4", "calls", "loop lag at the most calls, p99", "ms", _lags(last, 1), None),
        figure("P7", "calls", "memory of a call", "MB", [ramp.each_bytes / 1e6 for ramp in ours], 3, is_upward=False),
    )


def _added(samples: Sequence[Sample]) -> list[float]:
    return [min(sample.added(0.5), 1000 * GIVEN_UP_S) for sample in samples]


def _lags(samples: Sequence[Sample], which: int) -> list[float]:
    return [sample.loop_lag_ms[which] for sample in samples if sample.loop_lag_ms is not None]


async def _contest(studio: Studio, size: Size, pace: Pace, folder: Path) -> list[Ramp]:
    """Ours, Pipecat at its own rates, Pipecat at 8 kHz: one after another, or, as small as it goes, all at once."""

    async def plain(rate_hz: int) -> Ramp:
        async with _plain(studio, rate_hz, folder) as subject:
            return await _ramp(subject, size, pace)

    climbs = (_ramp(_ours(studio), size, pace, _sound()), plain(0), plain(8000))
    if size.share < TINY:
        return list(await asyncio.gather(*climbs))
    await studio.rig.loaded()
    return [await climbing for climbing in climbs]


async def _ramp(subject: Subject, size: Size, pace: Pace, sound: bytes = b"") -> Ramp:
    """With ``sound`` every utterance that is over by a sample without a fault has to be that one."""
    if size.share >= TINY:
        await idle(subject.pid)
    mark, first_bytes = pace.mark(), procfs.resident_bytes(subject.pid)
    async with Crowd(ACCOUNT.sid, words(talk.words(), CYCLE_S)) as crowd:
        callers = crowd.members

        def tell(sample: Sample) -> None:
            sys.stderr.write(f"  {told(sample)}, core {pace.slowness(mark):.2f} times as slow as a fast one\n")
            if sound and not sample.fault:
                check_sound(callers, sound, asyncio.get_running_loop().time() - sample.lasted_s)

        if size.share < TINY:
            await join(subject, crowd, 1)
            await _answered(crowd)
            samples = [await sampled(subject, crowd, TINY_S, settles_s=0.0)]
            tell(samples[0])
        else:
            samples = await climb(subject, crowd, WINDOW_S, tell, by_way_of=TO_BEAR)
        answered = sum(map(_is_answered, callers))
    return Ramp(samples=samples, answered=answered, slowness=pace.slowness(mark), first_bytes=first_bytes)


async def _answered(crowd: Crowd) -> None:
    """Returns when everybody was answered once. Raises `TimeoutError`."""
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        while not all(map(_is_answered, crowd.members)):  # noqa: ASYNC110 - what is heard has no event
            await asyncio.sleep(0.1)


def _is_answered(caller: CrowdCaller) -> bool:
    return any(turn.answered_s is not None for turn in caller.turns())


def told(sample: Sample) -> str:
    """One stretch in a line."""
    return (
        f"{sample.calls} calls: {sample.cpu_share:.0%} of a core, {sample.cpu_ms:.1f} ms of CPU a call second,"
        f" {len(sample.added_ms)} of {sample.turns} turns answered, {sample.added(0.5):.0f} ms late at p50,"
        f" {sample.added(0.99):.0f} at p99, jitter {sample.jitter_ms:.1f} ms, {sample.late_share:.1%} late,"
        f" gaps {sample.gap_ms:.0f} ms, callers {sample.callers_late_ms:.0f} ms behind{_lag(sample)}"
        f"{'; ' + sample.fault if sample.fault else ''}"
    )


def _lag(sample: Sample) -> str:
    return (
        "" if sample.loop_lag_ms is None else ", loop {:.0f} ms late at p50, {:.0f} at p99".format(*sample.loop_lag_ms)
    )


def check_sound(callers: Sequence[CrowdCaller], sound: bytes, since_s: float) -> None:
    """Whether all utterances that began after ``since_s`` and are over were ``sound``, to the byte of mu-law.

    Raises `Unsound`.
    """
    until_s = asyncio.get_running_loop().time() - UTTERANCE_GAP_S
    for caller in callers:
        for utterance in caller.handset.utterances:
            is_over = utterance.began_s > since_s and utterance.ended_s < until_s and not utterance.is_cut
            if is_over and bytes(utterance.codes) != sound:
                raise Unsound(
                    f"call {caller.call_sid} heard {len(utterance.codes)} samples of {len(sound)},"
                    f" {sum(a != b for a, b in zip(utterance.codes, sound, strict=False))} of them wrong"
                )


def _sound() -> bytes:
    """What the simulated voice says, as a phone gets it."""
    return mulaw.encode(np.frombuffer(tone(TONE_HZ, RATE_HZ, REPLY_S), "<i2"))


def _ours(studio: Studio) -> Subject:
    return Subject(
        place=studio.rig.place, pid=studio.worker.pid, takes_ms=STOP_WINDOW_MS + SIMULATED_MS, lag_ms=studio.rig.lag_ms
    )


@asynccontextmanager
async def _plain(studio: Studio, rate_hz: int, folder: Path) -> AsyncIterator[Subject]:
    """Pipecat's own bot in a process on the worker's core, at ``rate_hz`` or, for 0, at its own rates."""
    port, vendors = free_port(), studio.vendors
    where = ("--stt", vendors.stt.base_url, "--llm", vendors.llm.base_url, "--tts", vendors.tts.base_url)
    window = ("--stop-window-s", str(STOP_WINDOW_MS / 1000))
    rate = ("--rate-hz", str(rate_hz)) if rate_hz else ()
    command = ("turncall_testkit.bench.plain_bot", "--port", str(port), *where, *window, *rate)
    bot = Process("plain bot", command, os.environ, folder / f"plain-bot-{rate_hz}.log")
    await bot.start()
    try:
        await bot.until_ready(f"http://127.0.0.1:{port}/ready", READY_WITHIN_S)
        pin(bot.pid, {min(CORES)})

        async def place(_: str) -> str:
            return f"ws://127.0.0.1:{port}/ws"

        yield Subject(place=place, pid=bot.pid, takes_ms=STOP_WINDOW_MS + SIMULATED_MS)
    finally:
        await bot.stop()


async def _profile(studio: Studio, count: int, folder: Path) -> dict[str, float]:
    """What the worker does with ``count`` calls."""
    async with Crowd(ACCOUNT.sid, words(talk.words(), CYCLE_S)) as crowd:
        await join(_ours(studio), crowd, count)
        return await profiled(studio.worker.pid, WINDOW_S, folder, has_native=True)
