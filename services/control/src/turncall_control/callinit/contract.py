"""What the user's server is asked before a call is answered, and what it may reply."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from turncall_control.agents.model import Environment
from turncall_control.http.fields import Label
from turncall_control.routing import AgentRef
from turncall_proto.agent import AgentSpec
from turncall_proto.call import Channel, Direction, KnowledgeContext, TextChannel
from turncall_proto.ids import CallId, NumberId, ProjectId
from turncall_proto.marks import PhoneNumber
from turncall_proto.variables import Metadata, Variables

TYPE: Literal["call-init"] = "call-init"


class Arrival(Struct, frozen=True, kw_only=True):
    """A call, or a first message, that has come and is not answered yet. ``call_id`` is the id that it keeps, on every
    channel; of a message it is that of the session which it begins. A page's call has no numbers, but what its client
    token says of it."""

    call_id: CallId
    project_id: ProjectId
    number_id: NumberId | None
    channel: Channel | TextChannel
    direction: Direction
    from_number: PhoneNumber
    to_number: PhoneNumber
    provider: str
    provider_call_id: str
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)


class Question(Struct, frozen=True, kw_only=True):
    """The body of the request, laid out like every webhook."""

    type: Literal["call-init"]
    timestamp: datetime
    data: Arrival


class Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers: an agent of the project, by id or name, in its published version, or a definition for this call."""

    agent_id: AgentRef | None = None
    agent_name: Label | None = None
    environment: Annotated[Environment, Meta(description="Of the agent that is named.")] = Environment.PRODUCTION
    config: Annotated[AgentSpec | None, Meta(description="Checked like one that is stored.")] = None
    variables: Variables = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    knowledge_context: KnowledgeContext = ""

    def __post_init__(self) -> None:
        if sum(named is not None for named in (self.agent_id, self.agent_name, self.config)) != 1:
            raise ValueError("exactly one of agent_id, agent_name and config must be given")
