"""What a job's file must define, and what a job may reach: ``jobs/<kind>.py``, named like the tag of its job."""

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, cast

from msgspec import Struct

from turncall_blobs.store import BlobStore
from turncall_bus.bus import Bus
from turncall_proto.job import Job, JobAnswer, ModelUse


class JobRefused(Exception):
    """The job can never be done, or not by this installation. The message is for whoever asked for it: no internals."""


class Desk(Struct, frozen=True, kw_only=True):
    """What all jobs of one worker share. ``open_secret`` opens a sealed key."""

    bus: Bus
    blobs: BlobStore
    open_secret: Callable[[str], str]
    egress_allow: tuple[str, ...]
    now: Callable[[], datetime]


class Tally:
    """What a job used of models, also when it fails."""

    def __init__(self) -> None:
        self._used: list[ModelUse] = []

    def add(self, used: ModelUse) -> None:
        """Counts one more answer of a model."""
        self._used.append(used)

    @property
    def used(self) -> tuple[ModelUse, ...]:
        """One entry for each model."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for use in self._used:
            read, written = sums.get((use.vendor, use.model), (0, 0))
            sums[use.vendor, use.model] = (read + use.input_tokens, written + use.output_tokens)
        return tuple(
            ModelUse(vendor=vendor, model=model, input_tokens=read, output_tokens=written)
            for (vendor, model), (read, written) in sums.items()
        )


class JobModule(Protocol):
    """The shape of ``jobs/<kind>.py``."""

    async def run(self, job: Any, desk: Desk, tally: Tally) -> JobAnswer:
        """Does the job; a repeat does no harm. Raises `JobRefused` for good, anything else to be tried again."""
        ...


def module_of(kind: type[Job]) -> JobModule:
    """The file of a kind of job."""
    return cast(JobModule, import_module(f"turncall_media.jobs.{tag_of(kind)}"))


def tag_of(kind: type[Job]) -> str:
    """What subjects call this kind of job."""
    return str(kind.__struct_config__.tag)
