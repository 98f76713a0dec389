"""``python -m turncall_media run | schema | vendors | env-example``."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from msgspec import json

import turncall_proto
from turncall_blobs import BlobError
from turncall_bus.bus import BusError
from turncall_bus.spool import SpoolInUse
from turncall_media import app, config, registry, vendor_table
from turncall_media.errors import MediaError
from turncall_media.loading import Ready, load_for, load_rest
from turncall_media.pipelines.build import build_conversation
from turncall_media.pipelines.knowing import informed
from turncall_media.report.events import report_knowledge
from turncall_media.seams import Conversation, Past, Reporter, Resources
from turncall_media.stages.kinds import Kind
from turncall_media.wire.stream import Wire
from turncall_proto.agent import AgentSpec, Cascade, SpeechToSpeech, VendorRef
from turncall_proto.call import CallStart
from turncall_runtime import logs
from turncall_runtime.config import ConfigRefused, env_example, secrets_of
from turncall_runtime.seal import SealError

_log = logs.logger(__name__)

_COULD_NOT_START: Final = (BlobError, BusError, MediaError, OSError, SealError, SpoolInUse, ValueError)

_VENDORS: Final = Path(turncall_proto.__file__).parent / "schema" / "vendors.json"
_REHEARSED: Final[tuple[Kind, ...]] = ("stt", "llm", "tts")
"""Stages of the call that warms a worker up."""


def run() -> int:
    """Runs a worker. 0 when all its work was finished, 1 when it could not start or was cut short."""
    settings = config.read()
    logs.configure("media", settings.log_level, secrets_of(settings))
    ready = {kind: set(vendors) for kind, vendors in registry.installed().items()}
    kinds: tuple[Kind, ...] = registry.KINDS if "calls" in settings.pools else ("llm", "embed")
    chore = partial(load_rest, ready, kinds)
    worker = app.run(settings, build, lambda plan: unfit(plan, ready), rehearsal(ready), chore)
    try:
        return 0 if uvloop.run(worker) else 1
    except _COULD_NOT_START as error:
        _log.critical("worker.failed", error=type(error).__name__, why=str(error))
        return 1


async def build(
    plan: CallStart, wire: Wire, reporter: Reporter, resources: Resources, past: Past | None
) -> Conversation:
    """As `build_conversation`, once the code of the plan's vendors is loaded and its agent knows what it is to know."""
    _, (plan, told) = await asyncio.gather(
        load_for(plan.agent), informed(plan, resources.library, asyncio.get_running_loop().time)
    )
    if told is not None:
        report_knowledge(reporter, told, 0)
    return build_conversation(plan, wire, reporter, resources, past)


def unfit(plan: CallStart, ready: Ready) -> str | None:
    """Which vendor of the plan this worker lacks, in words for the person on call; None when it has them all."""
    match plan.agent.pipeline:
        case Cascade() as cascade:
            wanted: dict[Kind, VendorRef] = {"stt": cascade.stt, "llm": cascade.llm, "tts": cascade.tts}
        case SpeechToSpeech() as speech:
            wanted = {"speech": speech.model}
    lacking = [f"{ref.vendor} for {kind}" for kind, ref in wanted.items() if ref.vendor not in ready[kind]]
    return f"not installed here: {', '.join(lacking)}" if lacking else None


def rehearsal(ready: Ready) -> AgentSpec | None:
    """An agent of vendors that need neither an account nor a server; None when a kind has no such vendor here."""
    chosen: dict[Kind, VendorRef] = {}
    known = json.decode(_VENDORS.read_bytes())  # what the contract's package says, for which no vendor is imported
    for kind in _REHEARSED:
        alone = (vendor for vendor in sorted(ready[kind]) if _stands_alone(known[kind][vendor]["capabilities"]))
        vendor = next(alone, None)
        if vendor is not None:
            options = getattr(registry.load(kind, vendor), "REHEARSAL", {})
            chosen[kind] = VendorRef(vendor=vendor, options=options)
    if len(chosen) < len(_REHEARSED):
        return None
    cascade = Cascade(stt=chosen["stt"], llm=chosen["llm"], tts=chosen["tts"])
    return AgentSpec(pipeline=cascade, language="en", first_message="Hello.", recording="off")


def _stands_alone(capabilities: Mapping[str, bool]) -> bool:
    return not capabilities["needs_secret"] and not capabilities["takes_base_url"]


def schema() -> int:
    """Writes vendors.json into the contract's package, where a difference is reviewed."""
    _VENDORS.write_bytes(json.format(json.encode(registry.vendors_schema()), indent=2) + b"\n")
    return 0


def show_vendors() -> int:
    """Prints the table of vendors that the README holds."""
    sys.stdout.write(vendor_table.table(registry.vendors_schema()))
    return 0


def show_example() -> int:
    """Prints the commented environment of a worker."""
    sys.stdout.write(env_example(config.MediaConfig))
    return 0


COMMANDS: Final[dict[str, Callable[[], int]]] = {
    "run": run,
    "schema": schema,
    "vendors": show_vendors,
    "env-example": show_example,
}


def main(arguments: Sequence[str]) -> int:
    """Runs one command; 2 for an unknown one, 1 when the environment is refused, with every reason."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    try:
        return COMMANDS[arguments[0]]()
    except ConfigRefused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
