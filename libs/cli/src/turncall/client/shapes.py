"""What the API answers, as structs. Fields that a newer API adds are ignored; a test holds these to the OpenAPI."""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from turncall_proto.agent import AgentSpec, VendorRef
from turncall_proto.call import CallState, Channel, Direction, EndedReason
from turncall_proto.changes import ConfigChange
from turncall_proto.ids import (
    AgentId,
    CallId,
    CredentialId,
    DeliveryId,
    DocumentId,
    DoNotCallId,
    JobId,
    KeyId,
    KnowledgeBaseId,
    MessageId,
    NumberId,
    ProjectId,
    SessionId,
    TakeawayId,
    VersionId,
    WebhookId,
    WorkerId,
)
from turncall_proto.job import Findings, Lookup, ModelUse, ToolUsed
from turncall_proto.knowledge import Citation, Cutting, Passage
from turncall_proto.webrtc import IceServer

Role = Literal["admin", "developer", "viewer"]


class Page[T](Struct, frozen=True, kw_only=True):
    """Some items of a list; ``next_cursor`` asks for the next ones and is None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None


class ProjectLimits(Struct, frozen=True, kw_only=True):
    """What a project may use at most; None for no limit of its own."""

    concurrent_calls: int | None
    requests_per_minute: int | None


class Retention(Struct, frozen=True, kw_only=True):
    """After how many days what is kept is deleted: of a call since it began, of a conversation in writing since it was
    over; None keeps it."""

    recordings_days: int | None
    calls_days: int | None
    sessions_days: int | None


class CallingHours(Struct, frozen=True, kw_only=True):
    """When people may be called, by the clock where they are."""

    begins: str
    ends: str
    weekdays: tuple[str, ...]


class OutboundPolicy(Struct, frozen=True, kw_only=True):
    """Whom a project's agents may call, and when; None: at any time. No prefixes: everybody."""

    calling_hours: CallingHours | None
    allowed_prefixes: tuple[str, ...]


class BrowserPolicy(Struct, frozen=True, kw_only=True):
    """Who may call from web pages."""

    allowed_origins: tuple[str, ...]


class TransferPolicy(Struct, frozen=True, kw_only=True):
    """Whom callers may be connected to; none named: everybody."""

    allowed_destinations: tuple[str, ...]


class ProjectSettings(Struct, frozen=True, kw_only=True):
    """What a project sets for itself."""

    limits: ProjectLimits
    retention: Retention
    outbound: OutboundPolicy
    transfers: TransferPolicy
    browser: BrowserPolicy
    default_language: str


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project, the boundary between tenants."""

    id: ProjectId
    name: str
    settings: ProjectSettings
    created_at: datetime


class ProjectDeletion(Struct, frozen=True, kw_only=True):
    """A deleted project, and when everything in it begins to be deleted for good."""

    project_id: ProjectId
    deleted_at: datetime
    purge_at: datetime


class WorkerView(Struct, frozen=True, kw_only=True):
    """A media worker by its last beat; ``last_beat_s`` is its age."""

    id: WorkerId
    pool: Literal["calls", "text"]
    slots_total: int
    slots_used: int
    lag_ms: float
    cpu_share: float
    is_overloaded: bool
    is_draining: bool
    is_silent: bool
    last_beat_s: float
    version: str
    media_url: str


class WorkersSeen(Struct, frozen=True, kw_only=True):
    """The media workers that a replica of the control plane hears."""

    items: tuple[WorkerView, ...]


class DrainTaken(Struct, frozen=True, kw_only=True):
    """A worker that takes no more calls and ends when it has none."""

    worker: WorkerId


class ParkedView(Struct, frozen=True, kw_only=True):
    """A message that failed again and again while others went through: where it came from, who could not take it."""

    id: int
    stream: str
    consumer: str
    subject: str
    error: str
    size_bytes: int
    parked_at: datetime | None


class ParkedSeen(Struct, frozen=True, kw_only=True):
    """A page of parked messages, the oldest first."""

    items: tuple[ParkedView, ...]
    next_after: int | None


class ParkedDone(Struct, frozen=True, kw_only=True):
    """What became of chosen messages: ``done`` are parked no longer, ``gone`` were not there."""

    done: tuple[int, ...]
    gone: tuple[int, ...]


class SigningSecret(Struct, frozen=True, kw_only=True):
    """What signs the requests of a project's agents to the project's own servers (Standard Webhooks)."""

    secret: str


class CredentialView(Struct, frozen=True, kw_only=True):
    """A project's own key at a vendor, its Twilio account, its bucket, a WhatsApp number, or headers for a server.

    ``hint`` is how the secret ends, or which headers those are.
    """

    id: CredentialId
    kind: Literal["vendor", "twilio", "s3", "server", "whatsapp"]
    name: str
    hint: str
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class Listing(Struct, frozen=True, kw_only=True):
    """How many numbers were put on the do-not-call list, and how many were on it."""

    added: int
    known: int


class DoNotCallView(Struct, frozen=True, kw_only=True):
    """A number that the project does not call; ``person``: who was called asked an agent for it."""

    id: DoNotCallId
    number: str
    listed_by: Literal["api", "person"]
    note: str
    created_at: datetime


class Verification(Struct, frozen=True, kw_only=True):
    """What a vendor or a carrier says to a credential."""

    outcome: Literal["accepted", "refused", "unreachable", "unverifiable"]
    detail: str


class KeyView(Struct, frozen=True, kw_only=True):
    """An API key without its text."""

    id: KeyId
    project_id: ProjectId
    name: str
    role: Role
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    successor_id: KeyId | None


class Change(Struct, frozen=True, kw_only=True):
    """A field that a change touched, by its path."""

    field: str
    before: Any
    after: Any


class EntryView(Struct, frozen=True, kw_only=True):
    """One entry of the audit log."""

    id: str
    project_id: ProjectId | None
    created_at: datetime
    actor: str
    operation: str
    object_id: str
    effect: Literal["created", "changed", "deleted", "done"]
    changes: tuple[Change, ...]
    request_id: str
    address: str


class KeyMade(Struct, frozen=True, kw_only=True):
    """A new key; ``secret`` is shown this once."""

    key: KeyView
    secret: str


class VersionView(Struct, frozen=True, kw_only=True):
    """One version of an agent."""

    id: VersionId
    agent_id: AgentId
    number: int
    state: Literal["draft", "published", "archived"]
    config: AgentSpec
    created_at: datetime
    published_at: datetime | None
    archived_at: datetime | None


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent with its draft and what answers calls."""

    id: AgentId
    name: str
    environment: Literal["development", "staging", "production"]
    max_concurrent_calls: int | None
    created_at: datetime
    archived_at: datetime | None
    draft: VersionView | None
    published: VersionView | None


class AgentFile(Struct, frozen=True, kw_only=True):
    """An agent as one file."""

    name: str
    environment: Literal["development", "staging", "production"]
    config: AgentSpec


class AgentApplied(Struct, frozen=True, kw_only=True):
    """What an import did, or would do."""

    agent_id: AgentId | None
    outcome: Literal["created", "changed", "unchanged"]
    publishes: bool
    changes: tuple[ConfigChange, ...]


class Changes(Struct, frozen=True, kw_only=True):
    """What differs between two versions."""

    before_id: VersionId
    after_id: VersionId
    changes: tuple[ConfigChange, ...]


class Verdict(Struct, frozen=True, kw_only=True):
    """A config that is valid, and what it still lacks."""

    missing_vendor_keys: tuple[str, ...]
    undefined_variables: tuple[str, ...]


class AgentSummary(Struct, frozen=True, kw_only=True):
    """An agent in a list."""

    id: AgentId
    name: str
    environment: Literal["development", "staging", "production"]
    created_at: datetime
    archived_at: datetime | None
    draft_number: int | None
    published_number: int | None


class AgentTarget(Struct, frozen=True, kw_only=True, tag_field="kind", tag="agent"):
    """One agent answers."""

    agent_id: AgentId


class Variant(Struct, frozen=True, kw_only=True):
    """One of several agents, and how many callers of a hundred it gets."""

    name: str
    agent_id: AgentId
    weight: int


class WeightedTarget(Struct, frozen=True, kw_only=True, tag_field="kind", tag="weighted"):
    """Callers are divided among variants, whose weights sum up to 100."""

    variants: tuple[Variant, ...]


class WebhookTarget(Struct, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """The project's own server says who answers each call."""

    url: str
    signed_replies: bool = False


Target = AgentTarget | WeightedTarget | WebhookTarget


class Fallback(Struct, frozen=True, kw_only=True):
    """What a caller gets whom the target cannot serve."""

    agent_id: AgentId | None = None
    number: str | None = None
    sentence: str | None = None


class Hold(Struct, frozen=True, kw_only=True, tag_field="kind", tag="hold"):
    """Callers wait for a free worker."""

    message: str = "Please hold the line, we will be with you in a moment."
    wait_s: int = 20


class Forward(Struct, frozen=True, kw_only=True, tag_field="kind", tag="forward"):
    """Callers are connected to the fallback number at once."""


class Reject(Struct, frozen=True, kw_only=True, tag_field="kind", tag="reject"):
    """Callers hear the busy tone."""


Busy = Hold | Forward | Reject


class Channels(Struct, frozen=True, kw_only=True):
    """What a number is used for."""

    voice: bool = True
    whatsapp: bool = True
    sms: bool = True


class NumberView(Struct, frozen=True, kw_only=True):
    """A bound phone number, what answers it, and what becomes of callers whom nobody can serve."""

    id: NumberId
    e164: str
    carrier: str
    carrier_sid: str
    routing: Target
    fallback: Fallback
    busy: Busy
    channels: Channels
    max_concurrent_calls: int | None
    created_at: datetime
    configured_at: datetime | None


class OwnedNumber(Struct, frozen=True, kw_only=True):
    """A number that the carrier's account owns."""

    carrier: str
    carrier_sid: str
    e164: str
    label: str
    can_voice: bool
    can_sms: bool
    is_bound: bool


class OwnedNumbers(Struct, frozen=True, kw_only=True):
    """The numbers that the carrier's account owns."""

    items: tuple[OwnedNumber, ...]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at about a number; ``what_to_do`` is empty when all is well."""

    check: str
    is_ok: bool
    found: str
    expected: str
    what_to_do: str


class NumberCheck(Struct, frozen=True, kw_only=True):
    """Whether a number would work if it were called."""

    number_id: NumberId
    e164: str
    is_ok: bool
    findings: tuple[Finding, ...]


class VariantOutcome(Struct, frozen=True, kw_only=True):
    """What became of the calls of one variant while one version of its agent answered."""

    variant: str
    agent_id: AgentId | None
    version_id: VersionId | None
    version_number: int | None
    calls: int
    answered: int
    mean_duration_ms: int | None
    ended: dict[str, int]
    first_at: datetime
    last_at: datetime


class VariantReport(Struct, frozen=True, kw_only=True):
    """A number's weighted routing between two moments, by variant and version."""

    since: datetime
    until: datetime
    items: tuple[VariantOutcome, ...]


class Share(Struct, frozen=True, kw_only=True):
    """How many of how many, with the interval of the true share."""

    count: int
    of: int
    rate: float | None
    low: float
    high: float


class ReplayDifference(Struct, frozen=True, kw_only=True):
    """By how much a share is above another, with the interval of that."""

    rate: float
    low: float
    high: float
    is_clear: bool


class VariantShare(Struct, frozen=True, kw_only=True):
    """One variant of an experiment."""

    variant: str
    calls: int
    share: Share
    above: ReplayDifference | None


class Experiment(Struct, frozen=True, kw_only=True):
    """The variants of a weighted routing side by side."""

    since: datetime
    until: datetime
    outcome: str
    baseline: str | None
    variants: tuple[VariantShare, ...]


class Decision(Struct, frozen=True, kw_only=True):
    """How it was decided who answers a call, where the number does not simply name one agent."""

    kind: Literal["agent", "weighted", "webhook"]
    is_inline: bool
    is_fallback: bool
    why: str
    asked_ms: int | None
    attempts: int


class CallView(Struct, frozen=True, kw_only=True):
    """A call as it stands."""

    id: CallId
    project_id: ProjectId
    agent_id: AgentId | None
    version_id: VersionId | None
    variant: str | None
    routing: Decision | None
    number_id: NumberId | None
    channel: Channel
    direction: Direction
    is_test: bool
    from_number: str
    to_number: str
    status: CallState
    ended_reason: EndedReason | None
    provider: str
    provider_call_id: str | None
    variables: dict[str, str]
    metadata: dict[str, str]
    created_at: datetime
    answered_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    event_count: int
    missing_events: int
    recording_deleted_at: datetime | None


class NumberErased(Struct, frozen=True, kw_only=True):
    """What was deleted of a number's calls, and what is left for later."""

    deleted: int
    sessions: int
    remaining: int
    unsettled: int


class OutboundCall(Struct, frozen=True, kw_only=True):
    """A call that is to be placed, not before ``due_at``."""

    call: CallView
    due_at: datetime


class Utterance(Struct, frozen=True, kw_only=True):
    """What one side said."""

    speaker: Literal["caller", "agent"]
    text: str
    epoch: int
    turn: int
    start_ms: int
    end_ms: int
    is_interrupted: bool


class Transcript(Struct, frozen=True, kw_only=True):
    """Both sides in the order in which they spoke."""

    utterances: tuple[Utterance, ...]


class AnalysisView(Struct, frozen=True, kw_only=True):
    """One reading of a call; ``state`` is due, sent, done or failed."""

    id: JobId
    state: str
    created_at: datetime
    ended_at: datetime | None
    findings: Findings | None
    detail: str
    used: tuple[ModelUse, ...]


class CallAnalyses(Struct, frozen=True, kw_only=True):
    """The readings of a call, newest first."""

    analyses: tuple[AnalysisView, ...]


class SessionView(Struct, frozen=True, kw_only=True):
    """A conversation of a contact with an agent; ``state`` is active, ended or expired. Answers go to ``channel``."""

    id: SessionId
    project_id: ProjectId
    agent_id: AgentId | None
    version_id: VersionId | None
    variant: str | None
    channel: str
    number_id: NumberId | None
    contact: str
    state: str
    is_taken_over: bool
    variables: dict[str, str]
    metadata: dict[str, str]
    message_count: int
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class AttachmentView(Struct, frozen=True, kw_only=True):
    """Something that came with a message; ``reference`` is its address or id at the carrier, which keeps it."""

    content_type: str
    name: str
    is_voice: bool
    reference: str


class MessageView(Struct, frozen=True, kw_only=True):
    """One message of a session; ``author`` is contact, agent or operator."""

    id: MessageId
    session_id: SessionId
    seq: int
    author: str
    text: str
    tools: tuple[ToolUsed, ...]
    knowledge: tuple[Lookup, ...]
    used: tuple[ModelUse, ...]
    answers: int | None
    failure: str
    channel: str
    number_id: NumberId | None
    call_id: CallId | None
    told_on: CallId | None
    attachments: tuple[AttachmentView, ...]
    delivery: str | None
    delivery_failure: str
    created_at: datetime


class Exchange(Struct, frozen=True, kw_only=True):
    """A message that was taken, and the agent's answer to it, if there is one."""

    message: MessageView
    reply: MessageView | None
    session: SessionView


class ToolUse(Struct, frozen=True, kw_only=True):
    """One invocation of a tool; what it returned is None while it runs."""

    tool_call_id: str
    tool: str
    epoch: int
    turn: int
    arguments: dict[str, Any]
    bound: dict[str, str]
    called_at: datetime
    returned_at: datetime | None
    is_ok: bool | None
    output: Any
    latency_ms: int | None


class ToolUses(Struct, frozen=True, kw_only=True):
    """The tools of a call in the order in which they were called."""

    tools: tuple[ToolUse, ...]


class Turn(Struct, frozen=True, kw_only=True):
    """Where the milliseconds of one reply went; parts that did not happen are None."""

    epoch: int
    turn: int
    at: datetime
    reply_ms: int
    endpointing_ms: int | None
    stt_final_ms: int | None
    llm_first_token_ms: int | None
    tts_first_audio_ms: int | None


class Turns(Struct, frozen=True, kw_only=True):
    """The measured turns of a call in order."""

    turns: tuple[Turn, ...]


class StoredFact(Struct, frozen=True, kw_only=True):
    """A fact about a call; ``data`` follows the JSON Schema of its ``type``."""

    call_seq: int
    type: str
    epoch: int
    seq: int
    at: datetime
    data: dict[str, Any]


class WebhookView(Struct, frozen=True, kw_only=True):
    """A subscription to the project's events, without its secret."""

    id: WebhookId
    url: str
    event_types: tuple[str, ...]
    agent_id: AgentId | None
    description: str
    is_enabled: bool
    disabled_reason: Literal["gone", "failing"] | None
    disabled_at: datetime | None
    paused_until: datetime | None
    last_delivered_at: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime


class WebhookMade(Struct, frozen=True, kw_only=True):
    """A new subscription, or a new secret of one; ``secret`` is shown this once."""

    webhook: WebhookView
    secret: str


class TryView(Struct, frozen=True, kw_only=True):
    """One attempt to deliver an event; without an answer ``status`` is None and ``error`` says why."""

    at: datetime
    duration_ms: int
    status: int | None
    answer: str
    error: str


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One event on its way to one receiver; ``id`` is the ``webhook-id`` of every attempt."""

    id: DeliveryId
    webhook_id: WebhookId | None
    agent_id: AgentId | None
    type: str
    at: datetime
    call_id: CallId | None
    call_seq: int | None
    status: Literal["pending", "delivered", "failed"]
    failure: str | None
    created_at: datetime
    delivered_at: datetime | None
    next_try_at: datetime | None
    tries: tuple[TryView, ...]


class Redelivering(Struct, frozen=True, kw_only=True):
    """How many deliveries are sent again; ``next_since`` asks for the rest and is None when there is none."""

    count: int
    next_since: datetime | None


class CommandTaken(Struct, frozen=True, kw_only=True):
    """The pipeline of the call has carried a command out."""

    command_id: str


class EndTaken(Struct, frozen=True, kw_only=True):
    """Who ends the call."""

    taken_by: Literal["worker", "carrier"]


class RecordingLink(Struct, frozen=True, kw_only=True):
    """Where anybody may listen to a recording, for a while."""

    url: str
    expires_at: datetime


class VendorUsage(Struct, frozen=True, kw_only=True):
    """What one vendor did in one stage, in its own units."""

    kind: str
    vendor: str
    model: str
    audio_ms: int
    input_tokens: int
    output_tokens: int
    characters: int
    input_audio_tokens: int
    output_audio_tokens: int
    cost_micros: int | None


class CallUsage(Struct, frozen=True, kw_only=True):
    """What a call used."""

    vendors: tuple[VendorUsage, ...]
    currency: str | None
    cost_micros: int | None


class UsageRow(Struct, frozen=True, kw_only=True):
    """What the calls of a day, an agent or a vendor used."""

    key: str
    calls: int
    vendors: tuple[VendorUsage, ...]
    cost_micros: int | None


class UsageSummary(Struct, frozen=True, kw_only=True):
    """A project's usage between two moments."""

    since: datetime
    until: datetime
    rows: tuple[UsageRow, ...]
    currency: str | None
    cost_micros: int | None


class KnowledgeBaseView(Struct, frozen=True, kw_only=True):
    """A base, and how much there is in it."""

    id: KnowledgeBaseId
    project_id: ProjectId
    name: str
    description: str
    language: str
    embedder: VendorRef | None
    cutting: Cutting
    documents: int
    passages: int
    created_at: datetime


class DocumentView(Struct, frozen=True, kw_only=True):
    """A document of a base; ``state`` is processing, ready or failed."""

    id: DocumentId
    base_id: KnowledgeBaseId
    name: str
    url: str
    content_type: str
    size_bytes: int | None
    state: str
    is_being_read: bool
    reason: str
    failure: str
    characters: int
    passages: int
    dimensions: int
    read_at: datetime | None
    created_at: datetime


class PassageView(Struct, frozen=True, kw_only=True):
    """What a document was cut into."""

    passage: int
    heading: str
    page: int | None
    text: str


class KnowledgeUse(Struct, frozen=True, kw_only=True):
    """What an agent was told of knowledge bases at one moment of a call; ``mode`` is prompt, auto or tool."""

    epoch: int
    turn: int
    at: datetime
    mode: str
    question: str
    citations: tuple[Citation, ...]
    latency_ms: int
    waited_ms: int
    detail: str
    tool_call_id: str


class KnowledgeUses(Struct, frozen=True, kw_only=True):
    """Everything that an agent was told of knowledge bases on a call."""

    knowledge: tuple[KnowledgeUse, ...]


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """The passages that answer a question, the best one first."""

    passages: tuple[Passage, ...]
    detail: str


class Reindexing(Struct, frozen=True, kw_only=True):
    """How many documents are read anew."""

    documents: int


class ClientTokenMade(Struct, frozen=True, kw_only=True):
    """A token, shown once, for the call ``call_id``."""

    token: str
    call_id: CallId
    expires_at: datetime
    ice_servers: tuple[IceServer, ...]


class IceServers(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a page's connection is made with."""

    ice_servers: tuple[IceServer, ...]


class Connected(Struct, frozen=True, kw_only=True):
    """The answer to a page's offer of sound; ``pc_id`` is the call."""

    sdp: str
    type: Literal["answer"]
    pc_id: CallId


class CandidatesTaken(Struct, frozen=True, kw_only=True):
    """The call's worker knows of them."""

    status: Literal["success"]


class TakeawayView(Struct, frozen=True, kw_only=True):
    """Something that is taken out of the conversations of agents which name it."""

    id: TakeawayId
    project_id: ProjectId
    name: str
    description: str
    instructions: str
    schema: dict[str, Any]
    created_at: datetime
    changed_at: datetime


class SessionAnalyses(Struct, frozen=True, kw_only=True):
    """The readings of a session, newest first."""

    analyses: tuple[AnalysisView, ...]
