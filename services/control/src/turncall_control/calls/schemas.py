"""A call and its record, as the API takes and shows them."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment
from turncall_control.routing import Decision
from turncall_proto.agent import Destination
from turncall_proto.call import CallState, Channel, Direction, EndedReason
from turncall_proto.command import Injection, Keys, Line
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId
from turncall_proto.knowledge import Citation
from turncall_proto.variables import MOST_METADATA, Metadata, MetadataKey, MetadataText, Variables


class CallView(Struct, frozen=True, kw_only=True):
    """A call."""

    id: CallId
    project_id: ProjectId
    agent_id: Annotated[
        AgentId | None, Meta(description="Null when the definition came with the call, or no agent was found.")
    ]
    version_id: Annotated[VersionId | None, Meta(description="The agent's version that served the call.")]
    variant: Annotated[str | None, Meta(description="The number's weighted variant that the caller fell to.")]
    routing: Annotated[
        Decision | None, Meta(description="How it was decided who answers; null when the number names one agent.")
    ]
    number_id: NumberId | None
    channel: Channel
    direction: Direction
    is_test: Annotated[
        bool,
        Meta(
            description="A call of a test: its caller is played, its tools are mocked, nobody's server hears of it, "
            "and it counts in no usage and no analysis."
        ),
    ]
    from_number: Annotated[str, Meta(description="E.164, or whatever the carrier gives for a withheld caller.")]
    to_number: str
    status: CallState
    ended_reason: Annotated[EndedReason | None, Meta(description="Null while the call lives.")]
    provider: str
    provider_call_id: Annotated[str | None, Meta(description="The carrier's own id of the call.")]
    variables: Variables
    metadata: Metadata
    created_at: Moment
    answered_at: Annotated[Moment | None, Meta(description="When the carrier connected the two sides.")]
    started_at: Annotated[Moment | None, Meta(description="When the agent was live.")]
    ended_at: Moment | None
    duration_ms: Annotated[int | None, Meta(description="From the answer to the end; null while the call lives.")]
    event_count: Annotated[int, Meta(description="Facts stored so far, internal ones included.")]
    missing_events: Annotated[int, Meta(description="Facts known to have existed and lost for good.")]
    recording_deleted_at: Annotated[
        Moment | None, Meta(description="When the recording was deleted, because the project keeps it no longer.")
    ]


class CallChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about a call; what is left out stays as it is."""

    metadata: Annotated[
        dict[MetadataKey, MetadataText | None], Meta(max_length=MOST_METADATA, description="Null takes a key away.")
    ]


class RecordingLink(Struct, frozen=True, kw_only=True):
    """Where anybody may listen to a call's recording, for a while."""

    url: str
    expires_at: Moment


class Utterance(Struct, frozen=True, kw_only=True):
    """What one side said: the caller as understood, the agent as far as the caller heard it."""

    speaker: Literal["caller", "agent"]
    text: str
    epoch: int
    turn: Annotated[int, Meta(description="0 is the greeting; each utterance of the caller opens the next.")]
    start_ms: Annotated[int, Meta(description="Since the epoch's audio began.")]
    end_ms: int
    is_interrupted: bool


class Transcript(Struct, frozen=True, kw_only=True):
    """Both sides, in the order in which they spoke."""

    utterances: tuple[Utterance, ...]


class ToolUse(Struct, frozen=True, kw_only=True):
    """One invocation of a tool; the last four are null while it runs, and for good if its worker was lost."""

    tool_call_id: str
    tool: str
    epoch: int
    turn: int
    arguments: Annotated[dict[str, Any], Meta(description="As the model set them.")]
    bound: Annotated[dict[str, str], Meta(description="Arguments that the agent's definition sets.")]
    called_at: Moment
    returned_at: Moment | None
    is_ok: bool | None
    output: Any
    latency_ms: int | None


class ToolUses(Struct, frozen=True, kw_only=True):
    """Every invocation of a tool, in the order in which the model asked."""

    tools: tuple[ToolUse, ...]


class KnowledgeUse(Struct, frozen=True, kw_only=True):
    """What the agent was told of knowledge bases at one moment, and where it stands."""

    epoch: int
    turn: int
    at: Moment
    mode: Annotated[Literal["prompt", "auto", "tool"], Meta(description="The agent's link.")]
    question: Annotated[str, Meta(description="What was looked for; empty for all that a base holds.")]
    citations: Annotated[tuple[Citation, ...], Meta(description="The best one first.")]
    latency_ms: Annotated[int, Meta(description="What finding it took.")]
    waited_ms: Annotated[
        int, Meta(description="What the reply waited for it: less, when it was found while the caller still spoke.")
    ]
    detail: Annotated[str, Meta(description="What was left out, and why.")]
    tool_call_id: Annotated[str, Meta(description="The use of the tool; empty in the other modes.")]


class KnowledgeUses(Struct, frozen=True, kw_only=True):
    """Everything that the agent was told of knowledge bases, in order."""

    knowledge: tuple[KnowledgeUse, ...]


class Turn(Struct, frozen=True, kw_only=True):
    """Where the milliseconds of one reply went; null parts did not happen."""

    epoch: int
    turn: int
    at: Moment
    reply_ms: Annotated[int, Meta(description="What the caller waited: from the end of speech to the first audio.")]
    endpointing_ms: int | None
    stt_final_ms: int | None
    llm_first_token_ms: int | None
    tts_first_audio_ms: int | None


class Turns(Struct, frozen=True, kw_only=True):
    """The measured turns of a call, in order."""

    turns: tuple[Turn, ...]


class LineAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for the agent to say."""

    text: Line


class InjectionAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for the agent's model to know."""

    text: Injection
    role: Annotated[
        Literal["system", "user"], Meta(description="An instruction, or words as if the caller had said them.")
    ] = "system"
    is_answered: Annotated[bool, Meta(description="The agent speaks about it as soon as nobody else speaks.")] = False


class HandoffAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another agent of the project, which has a published version."""

    agent_id: Annotated[AgentId, Meta(pattern=r"^agt_[0-9a-f]{32}$(?!\n)")]
    reason: Annotated[str, Meta(max_length=1000, description="In the call's event log.")] = ""


class TransferWanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the caller is to be connected to, and how."""

    to: Destination
    mode: Annotated[
        Literal["cold", "warm"], Meta(description="warm: the caller is on hold until the person has taken over.")
    ] = "cold"
    message: Annotated[str, Meta(max_length=2000, description="What the agent tells the caller before.")] = ""
    briefing: Annotated[str, Meta(max_length=1000, description="warm: what the person hears first.")] = ""
    accept_key: Annotated[
        str, Meta(pattern=r"^[0-9*#]?$(?!\n)", description="warm: the key that takes the call; empty: picking up does.")
    ] = ""
    ring_s: Annotated[int, Meta(ge=5, le=120)] = 25


class DtmfAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys to be pressed: 0-9, A-D, * and #; `w` waits half a second, `W` a whole one."""

    digits: Keys


class CommandTaken(Struct, frozen=True, kw_only=True):
    """The pipeline of the call has carried a command out."""

    command_id: Annotated[str, Meta(description="As the call's event log has it.")]


class EndTaken(Struct, frozen=True, kw_only=True):
    """Who ends the call."""

    taken_by: Annotated[
        Literal["worker", "carrier"],
        Meta(
            description="worker: the agent's pipeline confirmed it; carrier: nobody held the audio, the line is closed."
        ),
    ]
