"""The few shapes that the parts of the media plane meet in: a socket, a reporter of facts, and how a call ended."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from turncall_blobs.store import BlobStore
from turncall_media.circuits import Circuits
from turncall_proto.call import CallStart, CallState, EndedReason
from turncall_proto.command import ActReply, AnyCommand, CommandReply, HandoffReply, TransferOrder
from turncall_proto.events import CallEvent, Event
from turncall_proto.ids import AgentId, KnowledgeBaseId, WorkerId
from turncall_proto.knowledge import KnowledgeAnswered, Source


class SocketClosed(Exception):
    """The other side closed the media socket, or the network did. ``code``: its close code, 1006 when abrupt."""

    def __init__(self, code: int) -> None:
        super().__init__(f"media socket closed with {code}")
        self.code = code


class MediaSocket(Protocol):
    """One carrier's media socket, text frames both ways."""

    async def receive(self) -> str:
        """The next text frame. Raises `SocketClosed`, also for binary frames (closed with 1003)."""
        ...

    async def send(self, text: str) -> None:
        """Writes one text frame. Raises `SocketClosed`; never waits longer than the write deadline of the socket."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Closes once; later calls do nothing."""
        ...


class Reporter(Protocol):
    """States facts about one epoch of one call: numbers them, spools them, never waits and never raises."""

    def report(self, kind: type[CallEvent], /, **facts: Any) -> None:
        """States one fact; the header (call, project, epoch, seq, at) is filled in.

        ``kind`` is positional, since some facts have a field of that name.
        """
        ...

    def whisper(self, message: Struct) -> None:
        """Lossy news for live feeds: partial transcripts. Dropped when the bus is away."""
        ...


class Outcome(Struct, frozen=True, kw_only=True):
    """How this worker saw the call end. None, None: the call goes on elsewhere, here with ``next_plan``, or with a
    person to whom the carrier is about to connect the caller (``is_transferred``)."""

    state: CallState | None
    reason: EndedReason | None
    next_plan: CallStart | None = None
    is_transferred: bool = False


class Past(Struct, frozen=True, kw_only=True):
    """What is known of a call's earlier epochs. ``is_known``: the bus told; without it there are no facts."""

    facts: tuple[Event, ...]
    is_known: bool


class Conversation(Protocol):
    """What a session needs of the pipeline that it built."""

    async def run(self) -> Outcome:
        """Speaks and listens until the call ends, then says how. Never raises but for cancellation.

        Leaves no task but for what `finish` ends.
        """
        ...

    async def finish(self) -> None:
        """Reports what comes late, such as a recording; called once after `run`, whatever became of that."""
        ...

    async def obey(self, command: AnyCommand) -> CommandReply:
        """Does what a person asks of the call, as soon as it is live. An end cuts speech that is under way."""
        ...

    def hand_over(self, *, at_once: bool) -> None:
        """Ends the conversation here so that it goes on elsewhere: at the next quiet moment, or ``at_once``."""
        ...


class Library(Protocol):
    """What the project of a call or of a job knows. Never raises: what keeps it from an answer is its ``detail``."""

    async def search(self, question: str, sources: tuple[Source, ...], within_s: float) -> KnowledgeAnswered:
        """The passages that answer a question best."""
        ...

    async def whole(self, at_most: Mapping[KnowledgeBaseId, int], within_s: float) -> KnowledgeAnswered:
        """All that bases hold, if that is no more than so many characters of each."""
        ...


class Resources(Struct, frozen=True, kw_only=True):
    """What one call may reach beyond its wire and its reporter.

    ``worker`` serves it, and ``now`` is aware UTC.
    ``open_secret`` opens a vendor's key that control sealed; raises `SecretUnusable`. ``egress_allow`` are the networks
    (CIDR) that the operator opened for URLs supplied by users. ``recordings_spool`` is a folder where parts of a
    recording wait for the store. ``hand_off`` asks control for the plan with which another agent goes on, or says why
    there is none; ``transfer`` asks it to connect the caller to a person, by a tool of the agent or by none, and
    ``opt_out`` never to have the person called again; ``send_link`` sends the contact a text and a link, once for a use
    of the tool, or raises `ToolFailed`. ``circuits`` are what the worker's calls know of vendors that are out of order.
    ``mcp_programs`` are those that the operator has named for agents to use.
    ``models_dir`` is the folder of models that run here; empty for none. ``library`` is what the project knows; None
    where nothing can be asked, as in a rehearsal.
    """

    worker: WorkerId
    now: Callable[[], datetime]
    open_secret: Callable[[str], str]
    blobs: BlobStore
    egress_allow: tuple[str, ...]
    recordings_spool: Path
    hand_off: Callable[[AgentId, str], Awaitable[HandoffReply]]
    transfer: Callable[[TransferOrder, str], Awaitable[ActReply]]
    send_link: Callable[[str, str, str], Awaitable[None]]
    opt_out: Callable[[], Awaitable[ActReply]]
    circuits: Circuits
    mcp_programs: Mapping[str, tuple[str, ...]] = {}
    models_dir: str = ""
    library: Library | None = None
