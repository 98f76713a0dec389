"""The life of a call: states, legal moves, why it ended, and the plan that a worker serves."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, CallId, ProjectId, VersionId, WorkerId
from turncall_proto.marks import PERSONAL, Instant, PhoneNumber
from turncall_proto.mock import ToolMock
from turncall_proto.variables import Metadata, Variables

Direction = Literal["inbound", "outbound"]
Channel = Literal["phone", "browser", "whatsapp"]
TextChannel = Literal["chat", "sms", "whatsapp"]
KnowledgeContext = Annotated[
    str,
    Meta(max_length=8000, description="What the agent is to know on this call: it joins the end of its prompt."),
    PERSONAL,
]


class CallState(StrEnum):
    """Where a call stands. The last four are final."""

    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    TRANSFERRING = "transferring"
    HANDED_OFF = "handed_off"
    VOICEMAIL = "voicemail"
    COMPLETED = "completed"
    FAILED = "failed"
    NO_ANSWER = "no_answer"
    BUSY = "busy"


_S = CallState
MOVES: Final[dict[CallState, frozenset[CallState]]] = {
    _S.INITIATED: frozenset({_S.RINGING, _S.IN_PROGRESS, _S.NO_ANSWER, _S.BUSY, _S.FAILED}),
    _S.RINGING: frozenset({_S.IN_PROGRESS, _S.NO_ANSWER, _S.BUSY, _S.VOICEMAIL, _S.COMPLETED, _S.FAILED}),
    _S.IN_PROGRESS: frozenset({_S.TRANSFERRING, _S.HANDED_OFF, _S.VOICEMAIL, _S.COMPLETED, _S.FAILED}),
    _S.TRANSFERRING: frozenset({_S.IN_PROGRESS, _S.COMPLETED, _S.FAILED}),
    _S.HANDED_OFF: frozenset({_S.IN_PROGRESS, _S.COMPLETED, _S.FAILED}),
    _S.VOICEMAIL: frozenset({_S.COMPLETED, _S.FAILED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.NO_ANSWER: frozenset(),
    _S.BUSY: frozenset(),
}
FINAL: Final = frozenset(state for state, moves in MOVES.items() if not moves)


class EndedReason(StrEnum):
    """Why a call ended, whoever noticed."""

    CUSTOMER_ENDED_CALL = "customer_ended_call"
    ASSISTANT_ENDED_CALL = "assistant_ended_call"
    API_ENDED_CALL = "api_ended_call"
    CUSTOMER_DID_NOT_ANSWER = "customer_did_not_answer"
    CUSTOMER_BUSY = "customer_busy"
    VOICEMAIL = "voicemail"
    TRANSFERRED = "transferred"
    MAX_DURATION_REACHED = "max_duration_reached"
    CUSTOMER_SILENT = "customer_silent"
    PIPELINE_ERROR = "pipeline_error"
    VENDOR_ERROR = "vendor_error"
    TELEPHONY_FAILED = "telephony_failed"
    INVALID_NUMBER = "invalid_number"
    CARRIER_LIMIT = "carrier_limit"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    FORWARDED = "forwarded"
    CANCELED = "canceled"
    NO_CAPACITY = "no_capacity"
    WORKER_LOST = "worker_lost"
    UNKNOWN = "unknown"


class Resume(Struct, frozen=True, kw_only=True):
    """Why an epoch follows another: the call goes on with another worker.

    ``lost_at`` is when the worker before was last known to hold the audio: its last beat, or the carrier's request.
    """

    from_epoch: Annotated[int, Meta(ge=1)]
    from_worker: WorkerId | None
    cause: Literal["socket_lost", "worker_silent", "drained"]
    lost_at: Instant


class Handoff(Struct, frozen=True, kw_only=True):
    """Why another agent serves a call than before: the agent of ``from_epoch`` gave it away, or a person had it do so.

    It stays in the plans of later epochs, so that a worker which takes over before the new agent spoke has it begin.
    """

    from_epoch: Annotated[int, Meta(ge=1)]
    from_agent_id: AgentId | None
    reason: str = ""


class TransferFailed(Struct, frozen=True, kw_only=True):
    """Why the caller is back with the agent: nobody took the call where it was to go.

    It stays in the plans of later epochs, so that a worker which takes over before the agent spoke tells it.
    """

    transfer_id: str
    to: Annotated[str, PERSONAL]
    outcome: Literal["busy", "no_answer", "declined", "machine", "failed"]


class CallStart(Struct, frozen=True, kw_only=True, tag_field="type", tag="call.start"):
    """The whole plan of one epoch of a call: a worker needs this, a socket and nothing else.

    ``secrets`` maps a vendor's name to its key; ``own_vendors`` are those whose key is the project's, so that it may go
    to a server which the agent names. Requests to the user's own servers are signed with all of ``signing_secrets``,
    or, where there are none, with ``signing_secret``. All of them are sealed to the media plane's public key.
    ``server_headers`` maps a host (``name``, which is https, or ``name:port``) to the headers that tools send there: a
    JSON object, sealed likewise.
    ``offered_to`` is the worker that reserved a slot; any other worker may still claim the epoch. An ``agent`` that
    came with the call itself has no ``agent_id`` and no ``version_id``. A conversation in writing is planned alike:
    then ``call_id`` is its session's, ``channel`` one of text, and the contact's address a number where it has one.
    """

    call_id: CallId
    project_id: ProjectId
    epoch: Annotated[int, Meta(ge=1)]
    agent_id: AgentId | None
    version_id: VersionId | None
    agent: AgentSpec
    channel: Channel | TextChannel
    direction: Direction
    from_number: PhoneNumber
    to_number: PhoneNumber
    provider: str
    provider_call_id: str
    planned_at: Instant
    secrets: dict[str, str] = field(default_factory=dict)
    own_vendors: tuple[str, ...] = ()
    signing_secret: str | None = None
    signing_secrets: tuple[str, ...] = ()
    server_headers: dict[str, str] = field(default_factory=dict)
    resume: Annotated[Resume | None, Meta(description="Null in the first epoch of a call.")] = None
    offered_to: WorkerId | None = None
    handoff: Annotated[Handoff | None, Meta(description="The last one of the call; null: there was none.")] = None
    answered_by: Annotated[
        str, Meta(description="Who answered, as far as the carrier has found out: human, machine_start, …")
    ] = ""
    transfer_failed: Annotated[TransferFailed | None, Meta(description="The last one of the call, if any.")] = None
    called_at: Annotated[Instant | None, Meta(description="When the call began; null: when this was planned.")] = None
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    knowledge_context: KnowledgeContext = ""
    memory: Annotated[
        str, Meta(description="What contact and agent said before, on any channel: it ends the prompt."), PERSONAL
    ] = ""
    mocks: Annotated[
        tuple[ToolMock, ...] | None,
        Meta(
            description="A call of a test: these answer for the agent's tools and MCP servers, none of which is asked. "
            "Null: a call."
        ),
    ] = None


class Claim(Struct, frozen=True, kw_only=True, tag_field="type", tag="call.claim"):
    """A worker's word that it serves this epoch. The first one on the subject wins; the loser closes its socket."""

    call_id: CallId
    epoch: int
    worker: WorkerId
    at: Instant
