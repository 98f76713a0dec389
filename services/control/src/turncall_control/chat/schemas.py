"""Sessions and messages as the API takes and shows them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.chat.model import Author, SessionState
from turncall_control.http.fields import Moment
from turncall_proto.call import TextChannel
from turncall_proto.ids import AgentId, CallId, MessageId, NumberId, ProjectId, SessionId, VersionId
from turncall_proto.job import Lookup, ModelUse, ToolUsed
from turncall_proto.marks import PERSONAL
from turncall_proto.variables import Metadata, Variables

LONGEST_MESSAGE: int = 8000

Contact = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        description="Who writes, as you know them: a user's id, an address.",
        examples=["visitor-17"],
    ),
    PERSONAL,
]


class SessionNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation to begin. The agent's published version answers; its first message, if it has one, is written."""

    agent_id: Annotated[AgentId, Meta(pattern=r"^agt_[0-9a-f]{32}$(?!\n)")]
    contact: Contact
    resume: Annotated[
        bool, Meta(description="Go on with the contact's living session with this agent, if there is one.")
    ] = False
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)


class SessionLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a link to a session carries."""

    session: Annotated[str, Meta(min_length=1, max_length=200, description="The query's `session`, as it stands.")]


class SessionView(Struct, frozen=True, kw_only=True):
    """A conversation of one contact with one agent, on whatever channels the contact uses."""

    id: SessionId
    project_id: ProjectId
    agent_id: Annotated[
        AgentId | None,
        Meta(description="Another one than at first after a handoff. Null: the project's server defined who answers."),
    ]
    version_id: VersionId | None
    variant: Annotated[str | None, Meta(description="The variant of the number's routing that the contact fell to.")]
    channel: Annotated[TextChannel, Meta(description="On which the contact wrote last; answers go there.")]
    number_id: Annotated[NumberId | None, Meta(description="The project's number on that channel.")]
    contact: Contact
    state: SessionState
    is_taken_over: Annotated[bool, Meta(description="A person writes in the agent's place.")]
    variables: Variables
    metadata: Metadata
    message_count: int
    created_at: Moment
    expires_at: Annotated[Moment, Meta(description="24 hours after the last message, unless another one comes.")]
    ended_at: Moment | None


class MessageNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something written."""

    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_MESSAGE, examples=["When do you open?"]), PERSONAL]
    author: Annotated[
        Literal["contact", "operator"],
        Meta(description="operator: a person answers in the agent's place, which takes the session over."),
    ] = "contact"


class AttachmentView(Struct, frozen=True, kw_only=True):
    """Something that came with a message. It is not kept here, but at the carrier."""

    content_type: Annotated[str, Meta(examples=["image/jpeg"])]
    name: Annotated[str, Meta(description="Of a document, as its sender calls it."), PERSONAL]
    is_voice: Annotated[bool, Meta(description="It was spoken into the phone, to be heard at once.")]
    reference: Annotated[
        str,
        Meta(
            description="Its address at Twilio, or its id at WhatsApp: the account's own key opens it, for as long as"
            " it is kept there."
        ),
    ]


class MessageView(Struct, frozen=True, kw_only=True):
    """One message of a session."""

    id: MessageId
    session_id: SessionId
    seq: Annotated[int, Meta(description="Its place in the session, from 1, without gaps.")]
    author: Author
    text: Annotated[str, PERSONAL]
    tools: Annotated[tuple[ToolUsed, ...], Meta(description="What the agent used for it.")]
    knowledge: Annotated[
        tuple[Lookup, ...], Meta(description="What the agent was told of knowledge bases for it, and where it stands.")
    ]
    used: Annotated[tuple[ModelUse, ...], Meta(description="What it took of each model.")]
    answers: Annotated[
        int | None, Meta(description="Of the agent's: the last message that it knew of; null for the others.")
    ]
    failure: Annotated[str, Meta(description="Why the agent could not answer it.")]
    channel: Annotated[TextChannel | Literal["phone"], Meta(description="phone: it was spoken.")]
    number_id: Annotated[NumberId | None, Meta(description="The project's number that it came to, or went from.")]
    call_id: Annotated[CallId | None, Meta(description="On which it was spoken.")]
    told_on: Annotated[
        CallId | None, Meta(description="The call whose agent was told of it and answers aloud, not in writing.")
    ]
    attachments: Annotated[
        tuple[AttachmentView, ...], Meta(description="What came with the contact's words, which tell of it too.")
    ]
    delivery: Annotated[
        Literal["queued", "accepted", "sent", "delivered", "read", "failed"] | None,
        Meta(description="How far it has come on its way to a phone, as far as the carrier says; null for the others."),
    ]
    delivery_failure: Annotated[
        Literal[
            "",
            "opted_out",
            "invalid_number",
            "unreachable",
            "blocked",
            "not_allowed",
            "window_closed",
            "carrier_limit",
            "refused",
            "lost",
            "no_account",
            "unknown",
        ],
        Meta(description="Why it did not arrive."),
    ]
    created_at: Moment


class Exchange(Struct, frozen=True, kw_only=True):
    """A message that was taken, and the agent's answer to it."""

    message: MessageView
    reply: Annotated[
        MessageView | None,
        Meta(description="Null when there is none yet, when a person has taken over, or when the agent failed."),
    ]
    session: SessionView
