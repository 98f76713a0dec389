"""An agent's definition: one shape for the REST body, the JSONB column and the call-start event.

Unknown fields are refused, so nothing is accepted that changes nothing. A vendor's options are open here and closed by
that vendor's own schema (``schema/vendors.json``), which the control plane checks without importing a pipeline.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from turncall_proto.bound import Bound
from turncall_proto.headers import Headers, require_settable
from turncall_proto.ids import AgentId, KnowledgeBaseId
from turncall_proto.mcp import McpServer
from turncall_proto.variables import Variables

Line = Annotated[str, Meta(min_length=1, max_length=500, description="One thing that the agent says.")]
Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)", description="Lower snake case, 64 characters at most.")
]
Kind = Literal["stt", "llm", "tts", "speech", "embed", "avatar"]
"""What a vendor can do: for a call, or, as ``embed`` does, for what is known."""


class VendorRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which vendor serves one stage of the pipeline, with that vendor's own options."""

    vendor: Name
    options: dict[str, Any] = field(default_factory=dict)


StageFallbacks = Annotated[
    tuple[VendorRef, ...],
    Meta(max_length=4, description="Who steps in, in this order, when a vendor fails or is silent."),
]


class Fallbacks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For each stage, the vendors that take over within the turn, and keep the stage for the rest of the call."""

    stt: StageFallbacks = ()
    llm: StageFallbacks = ()
    tts: StageFallbacks = ()


class Cascade(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cascade"):
    """Speech to text, a language model, text to speech."""

    stt: VendorRef
    llm: VendorRef
    tts: VendorRef
    fallbacks: Fallbacks = Fallbacks()
    avatar: Annotated[
        VendorRef | None,
        Meta(
            description="A face for calls from browsers whose page has room for one; on a telephone nobody sees it."
            " When it cannot be had, or is lost, the call goes on as a voice."
        ),
    ] = None

    def stages(self) -> dict[Literal["stt", "llm", "tts"], tuple[VendorRef, ...]]:
        """The vendors of each stage, in the order in which they serve it."""
        return {
            "stt": (self.stt, *self.fallbacks.stt),
            "llm": (self.llm, *self.fallbacks.llm),
            "tts": (self.tts, *self.fallbacks.tts),
        }

    def places(self) -> Iterator[tuple[Kind, str, VendorRef]]:
        """Every vendor that may serve: what as, where it stands in here, and who it is."""
        for kind, refs in self.stages().items():
            for index, ref in enumerate(refs):
                yield kind, kind if index == 0 else f"fallbacks.{kind}[{index - 1}]", ref
        if self.avatar is not None:
            yield "avatar", "avatar", self.avatar


class SpeechToSpeech(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="speech"):
    """One model that hears the caller and speaks itself."""

    model: VendorRef
    fallbacks: StageFallbacks = ()
    apology_voice: Annotated[
        VendorRef,
        Meta(
            description="The text to speech that tells the caller of our troubles when no model is left; nothing else."
        ),
    ] = field(default_factory=lambda: VendorRef(vendor="local"))

    def places(self) -> Iterator[tuple[Kind, str, VendorRef]]:
        """As those of a cascade."""
        yield "speech", "model", self.model
        for index, ref in enumerate(self.fallbacks):
            yield "speech", f"fallbacks[{index}]", ref
        yield "tts", "apology_voice", self.apology_voice


Pipeline = Cascade | SpeechToSpeech


class TurnTaking(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the caller has begun to speak, has finished, may interrupt, and has been silent for too long."""

    silence_timeout_ms: Annotated[
        int,
        Meta(ge=100, le=5000, description="Silence after the caller's words that ends the caller's turn."),
    ] = 600
    end_of_turn: Annotated[
        Literal["silence", "smart"],
        Meta(
            description="smart: at each pause a model listens whether the caller is done; if so the turn ends at once, "
            "otherwise after silence_timeout_ms, which may be longer then (1500)."
        ),
    ] = "silence"
    barge_in: Annotated[bool, Meta(description="Whether the caller's speech silences the agent.")] = True
    vad_confidence: Annotated[float, Meta(gt=0, lt=1, description="Speech probability that counts as speech.")] = 0.7
    vad_start_ms: Annotated[int, Meta(ge=20, le=1000, description="Speech this long begins a turn.")] = 200
    protect_first_message: Annotated[
        bool, Meta(description="Whether the first message is played to its end whatever the caller says meanwhile.")
    ] = False
    min_words: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="Words that silence the agent while it speaks; fewer go unheard. 0: the voice alone does.",
        ),
    ] = 0
    idle_timeout_s: Annotated[
        int,
        Meta(ge=0, le=600, description="Silence on both sides, once the agent was heard, until it asks. 0: never."),
    ] = 0
    idle_prompts: Annotated[
        tuple[Line, ...],
        Meta(
            max_length=5,
            description="What it asks, one after each such silence; after one more the call ends as customer_silent. "
            "Empty: it asks once, in its language.",
        ),
    ] = ()


class EndCallTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="end_call"):
    """Lets the model end the call; what it says beside the call is played to its end first."""

    name: Name = "end_call"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "End the phone call once the conversation is over and goodbye has been said."
    )


class WebhookTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """A function of the user's own server: a signed POST with the model's arguments, answered with JSON."""

    name: Name
    description: Annotated[str, Meta(min_length=1, max_length=1024)]
    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2048)]
    parameters: Annotated[dict[str, Any], Meta(description="JSON Schema of the arguments; an object.")] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    bound: Bound = field(default_factory=dict)
    timeout_ms: Annotated[int, Meta(ge=100, le=60_000, description="For each attempt.")] = 10_000
    headers: Headers = field(default_factory=dict)
    max_retries: Annotated[
        int,
        Meta(
            ge=0,
            le=5,
            description="After no answer, 408, 429 or 5xx; each with the same Idempotency-Key.",
        ),
    ] = 0
    execution: Annotated[
        Literal["sync", "async"],
        Meta(description="sync: the model waits, and an interruption cancels. async: it goes on, and learns later."),
    ] = "sync"
    filler: Annotated[
        str, Meta(max_length=500, description="Said when there is no answer soon and the model said nothing itself.")
    ] = ""
    max_result_bytes: Annotated[
        int, Meta(ge=256, le=32_768, description="Of the answer, the model gets so much, and is told what is missing.")
    ] = 32_768

    def __post_init__(self) -> None:
        require_settable(self.headers)


class HandoffTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another agent of the project, as this one knows it."""

    name: Annotated[Name, Meta(description="How the model names it.")]
    agent_id: Annotated[
        AgentId, Meta(pattern=r"^agt_[0-9a-f]{32}$(?!\n)", description="Its published version takes over.")
    ]
    description: Annotated[str, Meta(max_length=500, description="What it is for, for the model.")] = ""


class HandoffTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="handoff_to_agent"
):
    """Lets the model give the call to another agent, with all that was said: that one's whole configuration, from its
    voice to its tools, serves from there on. It is given the call when what this one says beside was heard."""

    name: Name = "handoff_to_agent"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Give the conversation to another agent. Say so in a few words first."
    )
    agents: Annotated[
        tuple[HandoffTarget, ...], Meta(min_length=1, max_length=20, description="Those it may choose; distinct names.")
    ]

    def __post_init__(self) -> None:
        if len({target.name for target in self.agents}) < len(self.agents):
            raise ValueError("agents must have distinct names")


class PauseRecordingTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="pause_recording"
):
    """Lets the model leave something out of the recording, such as the number of a card, and record again."""

    name: Name = "pause_recording"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Pause the recording of the call before the caller says something confidential, and resume it afterwards."
    )


Destination = Annotated[
    str,
    Meta(
        pattern=r"^(\+[1-9][0-9]{6,14}|sips?:[^@\s<>]{1,64}@[A-Za-z0-9.:\[\]-]{1,128})$(?!\n)",
        description="A phone number in E.164, or a SIP address.",
    ),
]


class TransferDestination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody whom callers may be connected to."""

    name: Annotated[Name, Meta(description="How the model names it.")]
    to: Destination
    description: Annotated[str, Meta(max_length=500, description="Who that is, for the model.")] = ""


class TransferTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="transfer_call"
):
    """Lets the model connect the caller to a person; if nobody takes the call there, the caller comes back to it."""

    name: Name = "transfer_call"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Connect the caller to a person. Say so in a few words first."
    )
    destinations: Annotated[
        tuple[TransferDestination, ...],
        Meta(min_length=1, max_length=20, description="Whom it may choose, and nobody else; distinct names."),
    ]
    mode: Annotated[
        Literal["cold", "warm"],
        Meta(description="cold: the caller hears ringing. warm: the caller is on hold until the person takes over."),
    ] = "cold"
    briefing: Annotated[
        str, Meta(max_length=1000, description="warm: what the person hears first; the caller does not.")
    ] = ""
    briefs_with_summary: Annotated[
        bool, Meta(description="warm: the model sums the call up for the person, which follows the briefing.")
    ] = False
    accept_key: Annotated[
        str, Meta(pattern=r"^[0-9*#]?$(?!\n)", description="warm: the key that takes the call; empty: picking up does.")
    ] = ""
    ring_s: Annotated[int, Meta(ge=5, le=120, description="How long the person's phone rings.")] = 25

    def __post_init__(self) -> None:
        if len({target.name for target in self.destinations}) < len(self.destinations):
            raise ValueError("destinations must have distinct names")


class SendDtmfTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="send_dtmf"):
    """Lets the model press keys: the other side hears their tones, once it has heard what the agent was saying."""

    name: Name = "send_dtmf"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Press keys on the telephone keypad, such as to go through the menu of another system."
    )


class SendLinkTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="send_link"):
    """Lets the model send the contact an SMS with a link to a page of the project's, where the conversation goes on in
    writing: the page's server opens the session with what the link carries."""

    name: Name = "send_link"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Send the contact a text message with a link, by which this conversation goes on in writing."
    )
    url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^\s#]+$(?!\n)",
            max_length=1024,
            description="The page; its query gets `session=…`, which `POST /v1/sessions/open` takes.",
            examples=["https://example.com/chat"],
        ),
    ]
    text: Annotated[str, Meta(max_length=500, description="What stands before the link.")] = ""


class OptOutTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="opt_out"):
    """Lets the model put the person it speaks with on the project's do-not-call list: that one's own number, which the
    platform knows, and no other."""

    name: Name = "opt_out"
    description: Annotated[str, Meta(min_length=1, max_length=1024)] = (
        "Never call this person again. Use it when they ask not to be called any more."
    )


Tool = (
    EndCallTool
    | WebhookTool
    | SendDtmfTool
    | HandoffTool
    | PauseRecordingTool
    | TransferTool
    | SendLinkTool
    | OptOutTool
)


class Keypad(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the keys that a caller presses are complete: they reach the model together, as the caller's words."""

    timeout_ms: Annotated[int, Meta(ge=500, le=30_000, description="After the last key.")] = 2_000
    terminator: Annotated[
        str,
        Meta(pattern=r"^[0-9*#]$(?!\n)", description="The key that completes them at once; it is passed on with them."),
    ] = "#"
    masked: Annotated[
        bool,
        Meta(
            description="Whether keys are secret: the model, the transcript and the events get a star for each, unless "
            "one alone was pressed. A tool's server gets them as {{call.keys}} among its bound arguments."
        ),
    ] = False


class RecordingConsent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a caller is asked whether the call may be recorded: first of all, and once. Only a clear yes is one."""

    line: Annotated[
        str,
        Meta(max_length=500, description="The question, which should name the keys; empty: in the agent's language."),
    ] = ""
    yes_key: Annotated[str, Meta(pattern=r"^[0-9*]$(?!\n)", description="The key for yes.", examples=["1"])] = "1"
    no_key: Annotated[str, Meta(pattern=r"^[0-9*]$(?!\n)", description="The key for no.", examples=["2"])] = "2"
    answer_within_s: Annotated[int, Meta(ge=2, le=60, description="Silence after the question that is a no.")] = 8

    def __post_init__(self) -> None:
        if self.yes_key == self.no_key:
            raise ValueError("yes_key and no_key must differ")


class Guardrails(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model may not do, whatever it is told or tells itself."""

    max_tool_calls_per_turn: Annotated[
        int,
        Meta(ge=1, le=50, description="Tools used for one utterance of the caller; what is asked beyond is not run."),
    ] = 10
    prohibited_topics: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200, examples=["medical advice"])], ...],
        Meta(
            max_length=20,
            description="What the model is told not to speak about: the last words of its prompt. It may disobey; what "
            "it may do is bounded by its tools.",
        ),
    ] = ()


class Score(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a conversation is marked for, in whole numbers."""

    name: Name
    description: Annotated[str, Meta(min_length=1, max_length=500)]
    lowest: Annotated[int, Meta(ge=0, le=100)] = 1
    highest: Annotated[int, Meta(ge=1, le=100)] = 5

    def __post_init__(self) -> None:
        if self.lowest >= self.highest:
            raise ValueError("lowest must be below highest")


class Analysis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is made of each conversation once it is over. It holds no call up."""

    model: Annotated[
        VendorRef | None, Meta(description="Who reads the conversation; null: the agent's own language model.")
    ] = None
    summary: Annotated[bool, Meta(description="Whether it is summarised.")] = True
    summary_instructions: Annotated[
        str,
        Meta(max_length=4000, description="What the summary is to hold; empty: who wanted what, and what came of it."),
    ] = ""
    success_rubric: Annotated[
        str, Meta(max_length=4000, description="When a conversation was a success; empty: that is not judged.")
    ] = ""
    sentiment: Annotated[bool, Meta(description="Whether the caller's mood is judged.")] = True
    scores: Annotated[tuple[Score, ...], Meta(max_length=20, description="Names are unique.")] = ()
    extract: Annotated[
        dict[str, Any] | None, Meta(description="JSON Schema, an object: what is taken out of the conversation.")
    ] = None

    takeaways: Annotated[
        tuple[Name, ...],
        Meta(max_length=20, description="Takeaways of the project, by name: each is taken out by its own schema."),
    ] = ()

    def __post_init__(self) -> None:
        names = [score.name for score in self.scores]
        if len(names) != len(set(names)):
            raise ValueError("scores must have distinct names")
        if len(self.takeaways) != len(set(self.takeaways)):
            raise ValueError("takeaways must be distinct")


class Background(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the caller hears behind the agent, and while it is silent, from the answer to the end."""

    sound: Annotated[Literal["office", "cafe"], Meta(description="A room, without words.")] = "office"
    volume: Annotated[float, Meta(gt=0, le=1, description="1 is as loud as a voice (-20 dBFS); 0.1 is 20 dB less.")] = (
        0.15
    )


class Voicemail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens on calls that the agent makes until it is clear who has answered, and when that is a machine.

    Meanwhile the agent says nothing. With it a machine is known by what it says, by its beep, or by a greeting of seven
    seconds without a pause; whoever says a word or two, or nothing for 2.5 s, is a person.
    """

    action: Annotated[
        Literal["hang_up", "leave_message"], Meta(description="leave_message: after the beep, and then hang up.")
    ] = "hang_up"
    message: Annotated[str, Meta(max_length=2000, description="What is left; {{name}} is filled in.")] = ""
    beep_within_s: Annotated[
        int, Meta(ge=1, le=60, description="How long the beep is waited for; three seconds of silence will do too.")
    ] = 20
    listen_s: Annotated[
        int,
        Meta(ge=0, le=60, description="How long a person may still turn out to be a machine, by its words or a beep."),
    ] = 10
    phrases: Annotated[
        tuple[Annotated[str, Meta(min_length=3, max_length=100)], ...],
        Meta(max_length=50, description="What else machines say; common phrases of en, de, es and fr are known."),
    ] = ()
    purpose: Annotated[
        str,
        Meta(max_length=500, description="What an assistant is told who asks for name and reason; {{name}} is filled."),
    ] = ""

    def __post_init__(self) -> None:
        if self.action == "leave_message" and not self.message.strip():
            raise ValueError("there is no message to leave")


class AgentServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agent's calls tell the user's own server, beside its tools. Signed as requests of tools are."""

    call_end_url: Annotated[
        str,
        Meta(
            pattern=r"^https?://",
            max_length=2048,
            description="Gets one POST when a call has ended: its record and its transcript.",
        ),
    ]


BaseRef = Annotated[
    KnowledgeBaseId, Meta(pattern=r"^kb_[0-9a-f]{32}$(?!\n)", description="A knowledge base of the same project.")
]
TopK = Annotated[int, Meta(ge=1, le=20, description="Passages that the model gets at most.")]
MinSimilarity = Annotated[
    float,
    Meta(ge=0, le=1, description="What shares no word with the question must be so near to it at least, by cosine."),
]


class KnowledgePrompt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="mode", tag="prompt"):
    """The model knows a whole base from the beginning. For a few pages that matter in every call."""

    base_id: BaseRef
    max_characters: Annotated[
        int,
        Meta(
            ge=500,
            le=60_000,
            description="A base that holds more is left out as a whole, which the call's record says: it is not cut.",
        ),
    ] = 20_000


class KnowledgeAuto(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="mode", tag="auto"):
    """Before each reply the base is asked what the caller has said; it begins while the caller is still finishing."""

    base_id: BaseRef
    top_k: TopK = 4
    min_similarity: MinSimilarity = 0.3
    within_ms: Annotated[
        int, Meta(ge=50, le=1500, description="How long a reply may wait for it; then it is given without.")
    ] = 800


class KnowledgeTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="mode", tag="tool"):
    """The model looks up what it needs to know, in its own words."""

    base_id: BaseRef
    name: Name = "query_knowledge"
    description: Annotated[
        str, Meta(min_length=1, max_length=1024, description="What is in there, so that the model knows when to look.")
    ] = "Look up what the documents of this business say. Ask in full words."
    top_k: TopK = 5
    min_similarity: MinSimilarity = 0.3


KnowledgeLink = KnowledgePrompt | KnowledgeAuto | KnowledgeTool


class AgentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides how an agent behaves on a call."""

    pipeline: Pipeline
    prompt: Annotated[str, Meta(max_length=128_000, description="Instructions for the language model.")] = ""
    first_message: Annotated[
        str,
        Meta(
            max_length=2000,
            description="Spoken when the call is answered; empty lets the caller speak first.",
        ),
    ] = ""
    language: Annotated[
        str,
        Meta(
            pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$(?!\n)",
            description="What is spoken, as BCP 47: en, en-US, de. Empty: the project's default language.",
        ),
    ] = ""
    pronunciations: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=100)],
            Annotated[str, Meta(min_length=1, max_length=200)],
        ],
        Meta(max_length=200, description="Words, in any case, and what the voice is given in their place."),
    ] = field(default_factory=dict)
    keyterms: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
        Meta(max_length=100, description="Names and words that callers are likely to say, for the speech to text."),
    ] = ()
    background: Background | None = None
    noise_filter: Annotated[
        bool,
        Meta(
            description="Takes steady noise (a street, a fan, the line itself) out of what is recognised. Other voices "
            "stay, and the recording keeps everything."
        ),
    ] = False
    turn_taking: TurnTaking = field(default_factory=TurnTaking)
    max_duration_s: Annotated[int, Meta(ge=10, le=14_400, description="The call ends after this long.")] = 3600
    max_duration_warning: Annotated[
        str, Meta(max_length=500, description="Said before the call ends for its length; empty: nothing is.")
    ] = ""
    max_duration_warning_s: Annotated[
        int, Meta(ge=5, le=600, description="How long before its end the warning is said.")
    ] = 30
    recording: Annotated[
        Literal["off", "on", "on_consent"],
        Meta(description="Whether both sides are recorded; on_consent: once the caller, who is asked, has said yes."),
    ] = "on"
    recording_consent: RecordingConsent = field(default_factory=RecordingConsent)
    tools: Annotated[tuple[Tool, ...], Meta(max_length=64, description="Names are unique.")] = ()
    knowledge: Annotated[
        tuple[KnowledgeLink, ...], Meta(max_length=8, description="What the agent knows from documents, and when.")
    ] = ()
    mcp_servers: Annotated[tuple[McpServer, ...], Meta(max_length=8, description="Names are unique.")] = ()
    keypad: Keypad = field(default_factory=Keypad)
    guardrails: Guardrails = field(default_factory=Guardrails)
    variables: Annotated[
        Variables,
        Meta(description="What {{name}} in prompt, first message and tool descriptions is unless the call says more."),
    ] = field(default_factory=dict)
    timezone: Annotated[
        str,
        Meta(
            max_length=64, description="Where {{call.date}}, {{call.time}} and {{call.weekday}} are, as IANA names it."
        ),
    ] = "UTC"
    server: AgentServer | None = None
    analysis: Annotated[
        Analysis | None, Meta(description="What is made of each conversation once it is over; null: nothing.")
    ] = None
    voicemail: Voicemail | None = None

    def __post_init__(self) -> None:
        tools = (*self.tools, *(link for link in self.knowledge if isinstance(link, KnowledgeTool)))
        for kind, named in (("tools", tools), ("mcp_servers", self.mcp_servers)):
            names = [one.name for one in named]
            if len(names) != len(set(names)):
                raise ValueError(f"{kind} must have distinct names")
