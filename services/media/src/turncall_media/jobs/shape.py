"""What a job's file must define, and what a job may reach: ``jobs/<kind>.py``, named like the tag of its job."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, cast

from msgspec import Struct

from turncall_blobs.store import BlobStore
from turncall_bus.bus import Bus
from turncall_media.pipelines.vendors import Sealed
from turncall_media.text.tally import Tally
from turncall_media.text.thinking import Model, ModelFailed
from turncall_proto.agent import VendorRef
from turncall_proto.job import Job, JobAnswer


class JobRefused(Exception):
    """The job can never be done, or not by this installation. The message is for whoever asked for it: no internals.

    ``reason`` says the same to programs, where the kind of job has words for it.
    """

    def __init__(self, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class JobPostponed(Exception):
    """Somebody else fails or is away: trying again later may help. The message is for whoever asked for the job."""


class Desk(Struct, frozen=True, kw_only=True):
    """What all jobs of one worker share.

    ``open_secret`` opens a sealed key; ``mcp_programs`` are those that the operator has named for agents to use.
    """

    bus: Bus
    blobs: BlobStore
    open_secret: Callable[[str], str]
    egress_allow: tuple[str, ...]
    mcp_programs: Mapping[str, tuple[str, ...]]
    now: Callable[[], datetime]

    def models(self, plan: Sealed, refs: Iterable[VendorRef], language: str) -> list[Model]:
        """Models that may be asked, with the keys that ``plan`` holds."""
        return [
            Model(ref=ref, language=language, plan=plan, open_secret=self.open_secret, egress_allow=self.egress_allow)
            for ref in refs
        ]


def unanswered(error: ModelFailed) -> JobRefused | JobPostponed:
    """What a job raises when no model answers: for good, if asking again does not help."""
    return JobRefused(str(error)) if error.is_final else JobPostponed(str(error))


class JobModule(Protocol):
    """The shape of ``jobs/<kind>.py``."""

    async def run(self, job: Any, desk: Desk, tally: Tally) -> JobAnswer:
        """Does the job; a repeat does no harm. Raises `JobRefused` for good, `JobPostponed` to be tried again."""
        ...


def module_of(kind: type[Job]) -> JobModule:
    """The file of a kind of job."""
    return cast(JobModule, import_module(f"turncall_media.jobs.{tag_of(kind)}"))


def tag_of(kind: type[Job]) -> str:
    """What subjects call this kind of job."""
    return str(kind.__struct_config__.tag)
