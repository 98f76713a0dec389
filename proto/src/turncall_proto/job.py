"""Jobs of the pool ``text``: what control asks of media that no caller waits for on the line, and what comes back.

A job is a message of a work queue: it is delivered again until somebody answers it, so doing one twice must be
harmless, and its answer counts once, by its id. A job too large for the bus lies in the object store, and a `Parcel`
travels.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from turncall_proto.agent import Analysis, VendorRef
from turncall_proto.call import CallStart
from turncall_proto.ids import AgentId, DocumentId, JobId, KnowledgeBaseId, ProjectId, SessionId
from turncall_proto.knowledge import Citation, Cutting
from turncall_proto.marks import PERSONAL, CallMs, Instant, Milliseconds, Speech
from turncall_proto.scenario import Scenario, Talk


class Job(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every job carries.

    ``secrets`` maps a vendor's name to its key, sealed to the media plane's public key; ``own_vendors`` are those whose
    key is the project's, so that it may go to a server which the agent names.
    """

    job_id: JobId
    project_id: ProjectId
    planned_at: Instant
    secrets: dict[str, str] = field(default_factory=dict)
    own_vendors: tuple[str, ...] = ()


class Said(Struct, frozen=True, kw_only=True):
    """One utterance of a conversation that is over."""

    speaker: Literal["caller", "agent"]
    text: Speech
    start_ms: CallMs = 0


class Used(Struct, frozen=True, kw_only=True):
    """One use of a tool in a conversation that is over."""

    tool: str
    arguments: Annotated[dict[str, Any], PERSONAL]
    is_ok: bool | None
    output: Annotated[Any, PERSONAL] = None


class TakeawayWanted(Struct, frozen=True, kw_only=True):
    """Something that is taken out of a conversation, as the project has defined it."""

    name: str
    schema: Annotated[dict[str, Any], Meta(description="JSON Schema, an object.")]
    instructions: str = ""


class AnalysisJob(Job, frozen=True, kw_only=True, tag="analysis"):
    """Read a conversation that is over, and say what ``analysis`` asks for.

    ``models`` are who does it, and then who steps in. ``takeaways`` are those that the agent names; ``gone`` are the
    names of which the project has none any more. ``is_written``: nobody spoke.
    """

    models: tuple[VendorRef, ...]
    analysis: Analysis
    language: str
    said: tuple[Said, ...]
    used: tuple[Used, ...] = ()
    ended_reason: str = ""
    duration_ms: Milliseconds = 0
    takeaways: tuple[TakeawayWanted, ...] = ()
    gone: tuple[str, ...] = ()
    is_written: bool = False


class Wrote(Struct, frozen=True, kw_only=True):
    """One message of a session. ``seq`` counts from 1. An operator is a person who writes in the agent's place."""

    seq: int
    author: Literal["contact", "agent", "operator"]
    text: Speech
    at: Instant


class TextTurnJob(Job, frozen=True, kw_only=True, tag="text_turn"):
    """Answer the messages of a session that nobody answered yet: those behind the agent's last one.

    ``plan`` is the session's, with its agent, variables and secrets. ``wrote`` are its messages, oldest first, behind
    those that ``summary`` stands for.
    """

    session_id: SessionId
    plan: CallStart
    wrote: tuple[Wrote, ...]
    summary: Speech = ""


class IngestJob(Job, frozen=True, kw_only=True, tag="ingest"):
    """Read a document: what lies under ``key`` or, without one, what ``url`` answers. Its text is cut, and each passage
    embedded, unless there is no ``embedder``. ``content_type`` is what it was said to be.
    """

    base_id: KnowledgeBaseId
    document_id: DocumentId
    name: str
    key: str = ""
    url: str = ""
    content_type: str = ""
    cutting: Cutting
    embedder: VendorRef | None = None


class TrialJob(Job, frozen=True, kw_only=True, tag="trial"):
    """Have a scenario's conversation with an agent in writing. Its tools answer what the scenario says: a repeat of the
    job does nobody any harm. ``plan`` is as a session's; ``secrets`` are those of the model that plays the caller."""

    plan: CallStart
    scenario: Scenario


class JudgementJob(Job, frozen=True, kw_only=True, tag="judgement"):
    """Read the conversation of a test, and say of each of ``rubrics`` whether it holds. The first of ``models`` does
    it, the others step in."""

    models: tuple[VendorRef, ...]
    language: str
    rubrics: tuple[str, ...]
    talk: Talk


class Parcel(Struct, frozen=True, kw_only=True, tag_field="type", tag="parcel"):
    """A job that is larger than a message may be: its JSON lies in the object store under ``key``."""

    job_id: JobId
    key: str
    sha256: str
    size_bytes: int


ALL_JOBS: Final[tuple[type[Job], ...]] = (AnalysisJob, TextTurnJob, IngestJob, TrialJob, JudgementJob)
"""Every kind of job; its tag is the kind that subjects name."""


class ModelUse(Struct, frozen=True, kw_only=True):
    """What a job used of one model."""

    vendor: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0


class Findings(Struct, frozen=True, kw_only=True):
    """What an analysis says. What was not asked for is null or empty."""

    summary: Annotated[str | None, PERSONAL] = None
    is_success: bool | None = None
    success_reason: Annotated[str | None, PERSONAL] = None
    sentiment: Literal["positive", "neutral", "negative", "mixed"] | None = None
    scores: dict[str, int] = field(default_factory=dict)
    extracted: Annotated[dict[str, Any] | None, PERSONAL] = None
    takeaways: Annotated[
        dict[str, dict[str, Any]], PERSONAL, Meta(description="What was taken out, by the takeaway's name.")
    ] = field(default_factory=dict)
    takeaways_gone: Annotated[
        tuple[str, ...], Meta(description="Names of which the project had no takeaway any more.")
    ] = ()


class JobAnswer(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every answer carries; ``used`` counts also what failed."""

    job_id: JobId
    project_id: ProjectId
    at: Instant
    used: tuple[ModelUse, ...] = ()


class JobFailed(JobAnswer, frozen=True, kw_only=True, tag="failed"):
    """The job cannot be done, or was tried often enough. ``detail`` is for the person who asked for it, ``reason`` for
    programs: a word such as ``encrypted``, where the kind of job has such words."""

    detail: Annotated[str, Meta(max_length=2000)]
    reason: str = ""


class AnalysisDone(JobAnswer, frozen=True, kw_only=True, tag="analysis"):
    """The conversation was read."""

    findings: Findings


class ToolUsed(Struct, frozen=True, kw_only=True):
    """One use of a tool in a turn, as the record shows it."""

    tool_call_id: str
    tool: str
    arguments: Annotated[dict[str, Any], PERSONAL]
    is_ok: bool
    output: Annotated[Any, PERSONAL]
    latency_ms: Milliseconds
    bound: Annotated[dict[str, str], PERSONAL] = field(default_factory=dict)


class Lookup(Struct, frozen=True, kw_only=True):
    """What the model was told of knowledge bases in a turn, and for which words."""

    mode: Literal["prompt", "auto", "tool"]
    question: Speech
    citations: tuple[Citation, ...]
    latency_ms: Milliseconds
    detail: str = ""


class TextTurnDone(JobAnswer, frozen=True, kw_only=True, tag="text_turn"):
    """The agent's answer; empty when it has nothing to say.

    ``through`` is the last message that it knew of. ``summary`` stands for the messages up to ``summarised_through``,
    0 when nothing was summarised. ``is_ended``: the agent ended the session. ``handed_to`` goes on in its place.
    """

    text: Speech
    through: int
    tools: tuple[ToolUsed, ...] = ()
    is_ended: bool = False
    handed_to: AgentId | None = None
    summary: Speech = ""
    summarised_through: int = 0
    knowledge: tuple[Lookup, ...] = ()


class IngestDone(JobAnswer, frozen=True, kw_only=True, tag="ingest"):
    """The document was read: a `CutDocument` lies under ``key`` until control has taken it.

    ``embedder`` made its vectors, each ``dimensions`` long; null and 0 when there are none. ``size_bytes`` and
    ``content_type`` are those of the document itself.
    """

    key: str
    sha256: str
    passages: int
    characters: int
    dimensions: int
    embedder: VendorRef | None
    size_bytes: int
    content_type: str


class TrialDone(JobAnswer, frozen=True, kw_only=True, tag="trial"):
    """The conversation was had."""

    talk: Talk


class RubricFinding(Struct, frozen=True, kw_only=True):
    """What a model finds of one rubric, and why."""

    holds: bool
    why: Annotated[str, PERSONAL]


class JudgementDone(JobAnswer, frozen=True, kw_only=True, tag="judgement"):
    """The conversation was read; the findings are in the order of the rubrics."""

    findings: tuple[RubricFinding, ...]


ALL_ANSWERS: Final[tuple[type[JobAnswer], ...]] = (
    AnalysisDone,
    TextTurnDone,
    IngestDone,
    TrialDone,
    JudgementDone,
    JobFailed,
)
