"""Facts about a call, as both planes state them.

Each fact is numbered ``(epoch, seq)`` without gaps, seq from 1. Epoch 0 belongs to control; each later epoch has one
worker as its only author. A consumer that sees the same number twice has seen the same fact twice.
Adding a field with a default is the one allowed change; a new meaning is a new tag.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from turncall_proto.agent import Kind
from turncall_proto.call import CallState, Channel, Direction, EndedReason
from turncall_proto.ids import AgentId, CallId, JobId, ProjectId, VersionId, WorkerId
from turncall_proto.job import Findings
from turncall_proto.knowledge import Citation
from turncall_proto.marks import PERSONAL, CallMs, Instant, Milliseconds, PhoneNumber, Speech
from turncall_proto.variables import Metadata, Variables


class CallEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The header that every fact carries."""

    call_id: CallId
    project_id: ProjectId
    epoch: Annotated[int, Meta(ge=0)]
    seq: Annotated[int, Meta(ge=1)]
    at: Instant


# Facts that control states (epoch 0).


class CallInitializing(CallEvent, frozen=True, kw_only=True, tag="call.initializing"):
    """The call has a row; nobody speaks yet."""

    agent_id: AgentId | None
    version_id: VersionId | None
    channel: Channel
    direction: Direction
    from_number: PhoneNumber
    to_number: PhoneNumber
    provider: str
    provider_call_id: str | None
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    variant: Annotated[str | None, Meta(description="The number's weighted variant that the caller fell to.")] = None


class CallRouted(CallEvent, frozen=True, kw_only=True, tag="call.routed"):
    """Who answers a call of a number that is not simply one agent's, and how that was decided. Internal.

    ``is_fallback``: the number's fallback agent answers, or nobody, because of ``why``. ``asked_ms`` and ``attempts``
    are those of the request to the user's server; ``is_inline``: it sent a definition in place of an agent.
    """

    kind: Literal["agent", "weighted", "webhook"]
    agent_id: AgentId | None = None
    version_id: VersionId | None = None
    is_inline: bool = False
    variant: str | None = None
    is_fallback: bool = False
    why: str = ""
    asked_ms: Milliseconds | None = None
    attempts: int = 0


class CallRinging(CallEvent, frozen=True, kw_only=True, tag="call.ringing"):
    """The carrier is ringing the called side."""


class CallAnswered(CallEvent, frozen=True, kw_only=True, tag="call.answered"):
    """The carrier connected the two sides."""


class CarrierReported(CallEvent, frozen=True, kw_only=True, tag="carrier.reported"):
    """What the carrier said about the call, in its own words. Internal."""

    status: str
    sequence_number: int | None = None
    duration_s: int | None = None
    sip_code: int | None = None


class EndIntended(CallEvent, frozen=True, kw_only=True, tag="end.intended"):
    """Control means to end the call at the carrier; stored before the carrier is asked. Internal."""

    reason: EndedReason
    state: CallState = CallState.COMPLETED
    detail: Annotated[str, Meta(description="What the reason leaves open, such as the limit that was reached.")] = ""


Refusal = Literal["invalid_number", "unverified", "out_of_credit", "rate_limited", "blocked", "credentials", "other"]


class DialFailed(CallEvent, frozen=True, kw_only=True, tag="dial.failed"):
    """A call that was asked for was not placed: the carrier refused it, or it never came to asking. Internal.

    ``refusal`` is why the carrier placed none, null if it was not asked or may have; ``carrier_code`` is its own number
    of that.
    """

    reason: EndedReason
    detail: str = ""
    carrier_code: int | None = None
    refusal: Refusal | None = None


class ForwardBegun(CallEvent, frozen=True, kw_only=True, tag="forward.begun"):
    """The carrier was told to connect the caller to the number's fallback phone number. Internal.

    ``because`` is why no agent has the call: ``no_capacity``, ``worker_lost``, ``rejected``.
    """

    because: EndedReason


class ForwardEnded(CallEvent, frozen=True, kw_only=True, tag="forward.ended"):
    """What became of that connection, in the carrier's words, and why the call ends in the light of it. Internal."""

    outcome: str
    reason: EndedReason
    duration_s: int | None = None


class CallEnded(CallEvent, frozen=True, kw_only=True, tag="call.ended"):
    """The last word on a call, stated once, on every path to an end."""

    state: CallState
    reason: EndedReason
    duration_ms: Milliseconds
    missing_events: Annotated[int, Meta(ge=0, description="Facts known to have existed and lost for good.")] = 0


class AnalysisCompleted(CallEvent, frozen=True, kw_only=True, tag="analysis.completed"):
    """What was made of the call after its end, or why nothing could be. Whoever asks for it anew gets another one."""

    analysis_id: JobId
    is_ok: bool
    findings: Annotated[Findings | None, Meta(description="Null when it failed.")] = None
    detail: str = ""


# Facts that the worker of an epoch states.


class EpochOpened(CallEvent, frozen=True, kw_only=True, tag="epoch.opened"):
    """A worker has the audio of this epoch. Always seq 1. Internal."""

    worker: WorkerId
    previous_seq: Annotated[int, Meta(ge=0, description="Last number of the epoch before that this worker read.")] = 0


class CallStarted(CallEvent, frozen=True, kw_only=True, tag="call.started"):
    """The agent is live: its pipeline runs and audio flows both ways."""

    setup_ms: Annotated[int, Meta(ge=0, description="From the socket's start message to a running pipeline.")]


class VariablesMissing(CallEvent, frozen=True, kw_only=True, tag="variables.missing"):
    """Names in the agent's texts that nothing filled: their places are empty. Internal."""

    names: tuple[str, ...]


class CallResumed(CallEvent, frozen=True, kw_only=True, tag="call.resumed"):
    """Another worker goes on with the call, knowing what was said before."""

    from_epoch: Annotated[int, Meta(ge=1)]
    from_worker: WorkerId | None
    to_worker: WorkerId
    cause: Literal["socket_lost", "worker_silent", "drained"]
    gap_ms: Annotated[int, Meta(ge=0, description="From when the audio was lost until the agent was live again.")]


class CallHandoff(CallEvent, frozen=True, kw_only=True, tag="call.handoff"):
    """Another agent has the call, with all that was said; it says its first words next."""

    from_epoch: Annotated[int, Meta(ge=1, description="The last one that the agent before served.")]
    from_agent_id: AgentId | None
    to_agent_id: AgentId | None
    to_version_id: VersionId | None
    reason: Speech = ""


class TransferBegun(CallEvent, frozen=True, kw_only=True, tag="transfer.begun"):
    """The agent has let go of the caller, who is being connected to a person. Internal."""

    to: Annotated[str, PERSONAL]
    mode: Literal["cold", "warm"]


class TransferAnswered(CallEvent, frozen=True, kw_only=True, tag="transfer.answered"):
    """The person to whom the caller is to be connected has picked up."""

    transfer_id: str
    to: Annotated[str, PERSONAL]


class CallTransferred(CallEvent, frozen=True, kw_only=True, tag="call.transferred"):
    """The caller and the person are connected; the agent is not on the call any more."""

    transfer_id: str
    to: Annotated[str, PERSONAL]


class TransferHasFailed(CallEvent, frozen=True, kw_only=True, tag="transfer.failed"):
    """Nobody took the call; the caller comes back to the agent."""

    transfer_id: str
    to: Annotated[str, PERSONAL]
    outcome: Literal["busy", "no_answer", "declined", "machine", "failed"]


class ParticipantChanged(CallEvent, frozen=True, kw_only=True, tag="participant.changed"):
    """Somebody came into the room of a warm transfer, left it, or was held or muted there, as its carrier says.
    Internal.

    ``other``: neither the caller nor the person, such as somebody whom they brought in at the carrier.
    """

    transfer_id: str
    party: Literal["caller", "person", "other"]
    change: Literal["joined", "left", "held", "unheld", "muted", "unmuted"]


class UtteranceBegun(CallEvent, frozen=True, kw_only=True, tag="utterance.begun"):
    """Somebody has begun to speak. Internal: it tells the next worker whom a lost one cut off.

    For the agent one is stated for each sentence once a little of it was played, and ``following`` is what the agent
    meant to say after it, as far as that was known; for the caller both are empty.
    """

    speaker: Literal["caller", "agent"]
    text: Speech
    turn: int
    start_ms: CallMs
    following: Speech = ""


class TranscriptFinal(CallEvent, frozen=True, kw_only=True, tag="transcript.final"):
    """One finished utterance: the caller's as understood, the agent's as far as the caller heard it."""

    speaker: Literal["caller", "agent"]
    text: Speech
    start_ms: CallMs
    end_ms: CallMs
    turn: Annotated[int, Meta(ge=0, description="0 is the greeting; each utterance of the caller opens the next.")]
    is_interrupted: bool = False


class ToolCalled(CallEvent, frozen=True, kw_only=True, tag="tool.called"):
    """The model asked for a tool. Stated before the tool is run.

    ``arguments`` are the model's; ``bound`` those that the agent's definition sets beside them.
    """

    tool_call_id: str
    tool: str
    arguments: Annotated[dict[str, Any], PERSONAL]
    turn: int
    bound: Annotated[dict[str, str], PERSONAL] = field(default_factory=dict)


class ToolReturned(CallEvent, frozen=True, kw_only=True, tag="tool.result"):
    """What a tool answered, or why it could not."""

    tool_call_id: str
    tool: str
    is_ok: bool
    output: Annotated[Any, PERSONAL]
    latency_ms: Milliseconds


class KnowledgeRetrieved(CallEvent, frozen=True, kw_only=True, tag="knowledge.retrieved"):
    """What the model was told of knowledge bases, and for which words. Internal.

    ``mode`` is the link's. ``latency_ms`` is what finding it took, ``waited_ms`` what the reply waited for it: less,
    when it was looked for while the caller was still finishing. ``detail``: what was left out, and why.
    """

    mode: Literal["prompt", "auto", "tool"]
    turn: int
    question: Speech = ""
    citations: tuple[Citation, ...] = ()
    latency_ms: Milliseconds = 0
    waited_ms: Milliseconds = 0
    detail: str = ""
    tool_call_id: str = ""


class LeftOut(Struct, frozen=True, kw_only=True):
    """A tool of an MCP server that the model is not offered, and why."""

    tool: str
    why: str


class ToolsDiscovered(CallEvent, frozen=True, kw_only=True, tag="tools.discovered"):
    """What an MCP server of the agent offers in this epoch, by the names that the model sees; ``why`` there is nothing,
    if it is away or refuses. Internal."""

    server: str
    took_ms: Milliseconds
    tools: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    why: str = ""


class TurnMeasured(CallEvent, frozen=True, kw_only=True, tag="turn.measured"):
    """Where the milliseconds of one reply went; absent parts did not happen. Internal.

    All parts but ``reply_ms`` are intervals of the same line: silence begins, transcript final, first token, first
    audio. ``reply_ms`` is what the caller waits: from the end of speech to the first audio frame written.
    """

    turn: int
    reply_ms: Milliseconds
    endpointing_ms: Milliseconds | None = None
    stt_final_ms: Milliseconds | None = None
    llm_first_token_ms: Milliseconds | None = None
    tts_first_audio_ms: Milliseconds | None = None


class UsageReported(CallEvent, frozen=True, kw_only=True, tag="usage.reported"):
    """What one vendor did for this epoch, in its own units. Internal; stated once when the epoch closes."""

    kind: Kind
    vendor: str
    model: str
    audio_ms: Milliseconds = 0
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    input_audio_tokens: Annotated[int, Meta(description="Those of the input tokens that were sound.")] = 0
    output_audio_tokens: Annotated[int, Meta(description="Those of the output tokens that were sound.")] = 0


class VoicemailDetected(CallEvent, frozen=True, kw_only=True, tag="voicemail.detected"):
    """A machine has answered a call of ours.

    ``clue``: what told it from a person: the carrier, its words, its beep, or the length of its greeting.
    """

    clue: Literal["carrier", "words", "beep", "length"]


class DtmfReceived(CallEvent, frozen=True, kw_only=True, tag="dtmf.received"):
    """The caller pressed a key."""

    digit: Annotated[str, Meta(pattern=r"^[0-9A-D*#]$(?!\n)"), PERSONAL]
    is_masked: Annotated[bool, Meta(description="The agent keeps keys secret: the digit is a star.")] = False


class ContextInjected(CallEvent, frozen=True, kw_only=True, tag="context.injected"):
    """The model was told something beside the conversation: an instruction, or words in the caller's name.

    ``is_answered``: it was to speak about it at once.
    """

    role: Literal["system", "user"]
    text: Speech
    is_answered: bool = False
    source: Annotated[str, Meta(description="What it tells of, such as a transfer's id; empty: a command.")] = ""


class CommandDone(CallEvent, frozen=True, kw_only=True, tag="command.done"):
    """A command to the live call was carried out. Internal: the next worker does none of them twice, and a call that
    was muted stays so.
    """

    command_id: str
    command: Annotated[str, Meta(description="Its tag, such as ``say``.")]


class VendorFailed(CallEvent, frozen=True, kw_only=True, tag="vendor.failed"):
    """A vendor refused, broke or went silent. ``taken_over_by`` is the fallback that serves the stage from here on;
    empty when none stepped in. Internal."""

    kind: Kind
    vendor: str
    detail: str
    is_fatal: bool
    taken_over_by: str = ""


class RecordingChanged(CallEvent, frozen=True, kw_only=True, tag="recording.changed"):
    """Whether the call is recorded from here on, and who says so: the caller by ``keys``, ``words`` or ``silence``, a
    person by ``command``, the agent's ``model``. Internal; the next worker keeps to it."""

    change: Literal["consented", "declined", "paused", "resumed"]
    by: Literal["keys", "words", "silence", "command", "model"]


class RecordingPart(Struct, frozen=True, kw_only=True):
    """One stored piece of a recording: a WAV file, stereo s16le (caller left, agent right), in time order."""

    key: str
    size_bytes: int
    duration_ms: int


class RecordingReady(CallEvent, frozen=True, kw_only=True, tag="recording.ready"):
    """Every part of an epoch's recording is in the object store: of its own, unless ``of_epoch`` names another.

    A worker that dies cannot say so. Control then says what the store holds of that epoch, again when more has come.
    """

    rate_hz: int
    duration_ms: Milliseconds
    parts: tuple[RecordingPart, ...]
    of_epoch: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The epoch whose worker was lost; the newest statement about it counts. Absent: this one."),
    ] = None
    is_whole: Annotated[
        bool, Meta(description="False: its worker was lost, and with it up to the last 12 s of its sound.")
    ] = True


class EpochClosed(CallEvent, frozen=True, kw_only=True, tag="epoch.closed"):
    """The last fact of an epoch: its ``seq`` is how many there are. Internal.

    ``state`` and ``reason`` are the worker's view of the end of the call, absent when the call goes on elsewhere.
    """

    state: CallState | None = None
    reason: EndedReason | None = None


Event = (
    CallInitializing
    | CallRouted
    | CallRinging
    | CallAnswered
    | CarrierReported
    | EndIntended
    | DialFailed
    | ForwardBegun
    | ForwardEnded
    | CallEnded
    | AnalysisCompleted
    | EpochOpened
    | CallStarted
    | VariablesMissing
    | CallResumed
    | CallHandoff
    | TransferBegun
    | TransferAnswered
    | CallTransferred
    | TransferHasFailed
    | ParticipantChanged
    | UtteranceBegun
    | TranscriptFinal
    | ToolCalled
    | ToolReturned
    | KnowledgeRetrieved
    | ToolsDiscovered
    | TurnMeasured
    | UsageReported
    | VoicemailDetected
    | DtmfReceived
    | ContextInjected
    | CommandDone
    | VendorFailed
    | RecordingChanged
    | RecordingReady
    | EpochClosed
)

INTERNAL_TAGS = frozenset(
    {
        "carrier.reported",
        "call.routed",
        "command.done",
        "end.intended",
        "dial.failed",
        "forward.begun",
        "forward.ended",
        "epoch.opened",
        "knowledge.retrieved",
        "participant.changed",
        "recording.changed",
        "tools.discovered",
        "utterance.begun",
        "transfer.begun",
        "turn.measured",
        "usage.reported",
        "variables.missing",
        "vendor.failed",
        "epoch.closed",
    }
)
"""Tags that never leave the platform as webhooks; the API shows them on request."""

PUBLIC_TAGS = frozenset(str(kind.__struct_config__.tag) for kind in Event.__args__) - INTERNAL_TAGS
"""What users are told of; a tag of a newer release counts as internal."""
