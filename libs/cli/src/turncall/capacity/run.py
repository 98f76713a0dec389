"""``turncall capacity``: how many calls of an agent one core of this machine bears, and so a worker's slots."""

import argparse
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
import yaml
from msgspec import Struct
from msgspec.structs import replace

from turncall import agents
from turncall.capacity.knee import FIRST, MOST, Subject, climb, idle, knee
from turncall.capacity.rig import rig
from turncall.capacity.sample import Sample
from turncall.capacity.vendors import REPLY_S, TAKES_MS, simulated
from turncall_phone.accounts import Account
from turncall_phone.crowd import Crowd, words
from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ
from turncall_phone.wav import read_wav
from turncall_proto.agent import AgentSpec, Cascade

SLOTS_SHARE: Final = 0.8
"""Of what a core bears: the rest is for calls that begin and end, for callers who lost their worker, and for moments in
which many speak at once."""
WINDOW_S: Final = 8.0
REST_S: Final = 2.0
"""Of silence behind a reply, before the caller speaks again."""
VARIABLE: Final = "TURNCALL_SLOTS"
FOLDER: Final = "capacity"
_LINE: Final = re.compile(rf"^[# ]*{VARIABLE}=.*$", re.MULTILINE)
_SILENT: Final = 200

Tell = Callable[[str], None]


class NotMeasured(Exception):
    """The agent cannot be measured, or even a few calls of it are too many; the message says why."""


class Measurable(Struct, frozen=True, kw_only=True):
    """An agent as it is measured, and which of its settings that leaves out."""

    agent: AgentSpec
    left_out: tuple[str, ...]


def declare(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("file", nargs="?", type=Path, help="an agent's file; the demonstration's agent unless given")
    parser.add_argument("--most", type=int, default=MOST, metavar="CALLS", help="try no more calls at once")
    parser.add_argument(
        "--write", type=Path, metavar="ENV", help=f"also set {VARIABLE} in this file of environment variables"
    )


async def run(options: argparse.Namespace, folder: Path, tell: Tell) -> int:
    """Measures, tells and, if asked to, writes; 0. Raises `NotMeasured`, `FileRefused` and what a start raises."""
    agent = _read(options.file)
    async with simulated() as pipeline:
        measurable = prepared(agent, pipeline)
        for what in measurable.left_out:
            tell(f"left out  {what}")
        found = await _climbed(measurable.agent, folder / FOLDER, options.most, tell)
    slots = max(1, int(SLOTS_SHARE * found.calls))
    tell(f"a core bears {found.calls} calls of this agent, {found.cpu_ms:.1f} ms of its time for each second of one")
    tell(f"{VARIABLE}={slots}")
    if options.write is not None:
        options.write.write_text(with_slots(options.write.read_text() if options.write.exists() else "", slots))
        tell(f"written   {options.write}; a worker reads it when it starts")
    return 0


def prepared(agent: AgentSpec, pipeline: Cascade) -> Measurable:
    """The agent with ``pipeline`` for vendors, and nothing that reaches out of this machine or ends a call early.

    Raises `NotMeasured` for a model that hears and speaks itself.
    """
    if not isinstance(agent.pipeline, Cascade):
        raise NotMeasured(
            "an agent whose model hears and speaks itself cannot be measured: its vendor is not simulated"
        )
    left_out = [
        (f"{ref.vendor} ({stage}): vendors are simulated", True)
        for stage, refs in agent.pipeline.stages().items()
        for ref in refs[:1]
    ]
    left_out += [
        ("tools: the model is offered them and calls none", bool(agent.tools)),
        ("MCP servers", bool(agent.mcp_servers)),
        ("background sound", agent.background is not None),
        ("analysis of calls", agent.analysis is not None),
        ("your server for call events", agent.server is not None),
    ]
    measured = replace(
        agent,
        pipeline=pipeline,
        first_message=agent.first_message or "Hello.",
        recording="off" if agent.recording == "off" else "on",
        max_duration_s=14_400,
        mcp_servers=(),
        background=None,
        analysis=None,
        server=None,
    )
    return Measurable(agent=measured, left_out=tuple(what for what, holds in left_out if holds))


def with_slots(text: str, slots: int) -> str:
    """An environment file whose worker has so many slots; a line that sets or comments them is replaced."""
    line = f"{VARIABLE}={slots}"
    if _LINE.search(text):
        return _LINE.sub(line, text, count=1)
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


async def _climbed(agent: AgentSpec, folder: Path, most: int, tell: Tell) -> Sample:
    account = Account(sid=f"AC{token_hex(16)}", auth_token=token_hex(16), numbers=("+15550144000",))
    takes_ms = agent.turn_taking.silence_timeout_ms + TAKES_MS
    said = _recorded()
    every_s = len(said) / RATE_HZ + takes_ms / 1000 + REPLY_S + REST_S
    shutil.rmtree(folder, ignore_errors=True)
    async with rig(folder, agent, account) as running, Crowd(account.sid, words(said, every_s)) as crowd:
        subject = Subject(place=running.place, pid=running.installation.workers[0].pid, takes_ms=takes_ms)
        if most >= FIRST:
            await running.loaded()
            await idle(subject.pid)
        samples = await climb(subject, crowd, max(WINDOW_S, every_s), lambda sample: tell(line(sample)), most)
    found = knee(samples)
    if found is None:
        raise NotMeasured(f"{samples[0].calls} calls are too many for a core: {samples[0].fault}")
    return found


def line(sample: Sample) -> str:
    """One crowd, for a person who watches."""
    verdict = sample.fault or f"answers {sample.added(0.99):.0f} ms late at most, audio {sample.jitter_ms:.0f} ms"
    return f"{sample.calls:>4} calls  {sample.cpu_share:>4.0%} of a core  {verdict}"


def _read(path: Path | None) -> AgentSpec:
    if path is None:
        text = files("turncall.demo").joinpath("agent.yaml").read_text()
        return msgspec.convert(yaml.safe_load(text.replace("{{tool_url}}", "http://127.0.0.1:9/book")), AgentSpec)
    document, _ = agents.read(path)
    try:
        return msgspec.convert(document.get("config"), AgentSpec)
    except msgspec.ValidationError as error:
        raise agents.FileRefused(f"{path}: {error}") from error


def _recorded() -> Samples:
    """What every caller says, from its first sound to its last."""
    pcm = read_wav(files("turncall.demo").joinpath("caller", "book.wav").read_bytes())
    sounding = (abs(pcm.astype("i4")) > _SILENT).nonzero()[0]
    return pcm[sounding[0] : sounding[-1] + 1]
