"""Subjects and streams: where each message travels, who keeps it, for how long."""

from typing import Final, Literal

from msgspec import Struct

from turncall_proto.ids import CallId, ProjectId, SessionId, WorkerId

Act = Literal["hang_up", "handoff", "transfer", "link", "opt_out", "settlement", "knowledge"]
"""What a worker may ask of control."""
ROOT: Final = "tc.v1"
Leaf = Literal["start", "claim", "event"]


def call(project: ProjectId, call_id: CallId, leaf: Leaf) -> str:
    """Where one kind of message of one call travels: its plans, its claims or its facts."""
    return f"{ROOT}.call.{project}.{call_id}.{leaf}"


def call_story(project: ProjectId, call_id: CallId) -> str:
    """Everything of one call, for reading back and for purging."""
    return f"{ROOT}.call.{project}.{call_id}.>"


def project_story(project: ProjectId) -> str:
    """Everything of all calls of a project, for purging."""
    return f"{ROOT}.call.{project}.>"


ALL_CALL_EVENTS: Final = f"{ROOT}.call.*.*.event"
ALL_BEATS: Final = f"{ROOT}.beat.*.*"


def beat(pool: str, worker: WorkerId) -> str:
    """A worker's beats, core publish."""
    return f"{ROOT}.beat.{pool}.{worker}"


def offer(worker: WorkerId) -> str:
    """Offers to one worker, request and reply."""
    return f"{ROOT}.offer.{worker}"


def sdp(worker: WorkerId) -> str:
    """Offers of sound from browsers and WhatsApp to the worker that holds a slot for their call, request and reply."""
    return f"{ROOT}.sdp.{worker}"


def worker(worker: WorkerId) -> str:
    """What an operator asks of a worker itself, request and reply."""
    return f"{ROOT}.worker.{worker}"


def command(call_id: CallId) -> str:
    """Commands to a live call; the worker that owns it subscribes."""
    return f"{ROOT}.cmd.{call_id}"


def act(kind: Act) -> str:
    """Carrier acts and questions that workers put to control; replicas share a queue group."""
    return f"{ROOT}.act.{kind}"


def live(project: ProjectId, call_id: CallId | SessionId) -> str:
    """Lossy news of a live call or session: what is being said or written, and what was stored."""
    return f"{ROOT}.live.{project}.{call_id}"


def out(kind: str) -> str:
    """News of one kind of changed configuration."""
    return f"{ROOT}.out.{kind}"


ALL_OUT: Final = f"{ROOT}.out.*"


def job(kind: str) -> str:
    """Jobs of one kind, for the pool ``text``."""
    return f"{ROOT}.job.{kind}"


def answers(kind: str) -> str:
    """What became of jobs of one kind, for control."""
    return f"{ROOT}.job.{kind}.answer"


ARRIVALS: Final = f"{ROOT}.job.arrival"
"""Messages that contacts wrote on their way into sessions, from control to control."""

EMBED: Final = f"{ROOT}.embed"
"""Questions to be made vectors, request and reply; the workers of the pool ``text`` share a queue group."""


class StreamSpec(Struct, frozen=True, kw_only=True):
    """One JetStream stream. All are file-backed, discard-new, ``allow_direct``, deduplicated by message id."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    max_age_s: int
    max_bytes: int
    duplicate_window_s: int = 120


GIB: Final = 1024**3
TC_CALLS: Final = StreamSpec(
    name="TC_CALLS", subjects=(f"{ROOT}.call.>",), retention="limits", max_age_s=72 * 3600, max_bytes=8 * GIB
)
TC_JOBS: Final = StreamSpec(
    name="TC_JOBS", subjects=(f"{ROOT}.job.>",), retention="workqueue", max_age_s=72 * 3600, max_bytes=1 * GIB
)
TC_OUT: Final = StreamSpec(
    name="TC_OUT", subjects=(f"{ROOT}.out.>",), retention="limits", max_age_s=24 * 3600, max_bytes=1 * GIB
)
TC_DEAD: Final = StreamSpec(
    name="TC_DEAD",
    subjects=(f"{ROOT}.dead.>",),
    retention="limits",
    max_age_s=14 * 24 * 3600,
    max_bytes=1 * GIB,
)
STREAMS: Final = (TC_CALLS, TC_JOBS, TC_OUT, TC_DEAD)

PROJECTOR: Final = "projector"
"""Durable name of the consumer that turns facts into rows; every control replica pulls from it."""
CONTROL_QUEUE: Final = "control"
"""Queue group of control's replicas for acts."""
TEXT_QUEUE: Final = "text"
"""Queue group of the workers of the pool ``text``."""
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Nothing larger travels; a larger body goes to the object store and the message holds its key."""


def dead(stream: str) -> str:
    """Where poison messages of a stream are parked."""
    return f"{ROOT}.dead.{stream}"


ALL_DEAD: Final = f"{ROOT}.dead.>"
"""Every parked message."""


def message_id(call_id: CallId, epoch: int, seq: int) -> str:
    """The deduplication id of a fact."""
    return f"{call_id}.{epoch}.{seq}"
