"""An agent and its versions as the API takes and shows them."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from turncall_control.agents.model import Environment, VersionState
from turncall_control.http.fields import Label, Moment
from turncall_control.settings import CallCount
from turncall_proto.agent import AgentSpec
from turncall_proto.changes import ConfigChange
from turncall_proto.ids import AgentId, VersionId


class AgentNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent to be made, with its first draft."""

    name: Annotated[Label, Meta(description="Unique among the project's agents of the environment.")]
    environment: Environment = Environment.DEVELOPMENT
    config: AgentSpec


class AgentChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about an agent itself; what is left out stays as it is."""

    name: Label | UnsetType = UNSET
    max_concurrent_calls: Annotated[
        CallCount | UnsetType | None, Meta(description="Live calls at a time, in all versions; null for no limit.")
    ] = UNSET


class AgentDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is made of."""

    config: AgentSpec


class AgentFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent as one file: kept beside code, carried to another project. Keys of vendors are not in it."""

    name: Label
    environment: Environment = Environment.DEVELOPMENT
    config: AgentSpec


class AgentApplied(Struct, frozen=True, kw_only=True):
    """What an import did, or would do."""

    agent_id: Annotated[AgentId | None, Meta(description="Null for an agent that is not made yet.")]
    outcome: Literal["created", "changed", "unchanged"]
    publishes: Annotated[bool, Meta(description="Whether another config answers calls after it.")]
    changes: Annotated[tuple[ConfigChange, ...], Meta(description="Against what stood there; none for a new agent.")]


class Changes(Struct, frozen=True, kw_only=True):
    """What differs between two versions."""

    before_id: VersionId
    after_id: VersionId
    changes: tuple[ConfigChange, ...]


class Verdict(Struct, frozen=True, kw_only=True):
    """A config that is valid; publishing also needs the keys of its vendors."""

    missing_vendor_keys: Annotated[
        tuple[str, ...], Meta(description="Vendors whose key the installation lacks: publishing would be refused.")
    ]
    undefined_variables: Annotated[
        tuple[str, ...], Meta(description="Variables without a default: empty on calls that do not bring them along.")
    ]


class VersionView(Struct, frozen=True, kw_only=True):
    """A version of an agent."""

    id: VersionId
    agent_id: AgentId
    number: Annotated[int, Meta(ge=1, description="Counts up from 1 within the agent.")]
    state: VersionState
    config: AgentSpec
    created_at: Moment
    published_at: Moment | None
    archived_at: Moment | None


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent with what is being worked on and what answers calls."""

    id: AgentId
    name: str
    environment: Environment
    max_concurrent_calls: int | None
    created_at: Moment
    archived_at: Annotated[Moment | None, Meta(description="When it was taken out of service; null while it is not.")]
    draft: Annotated[VersionView | None, Meta(description="What the next publish makes live.")]
    published: Annotated[VersionView | None, Meta(description="What answers calls.")]


class AgentSummary(Struct, frozen=True, kw_only=True):
    """An agent in a list."""

    id: AgentId
    name: str
    environment: Environment
    created_at: Moment
    archived_at: Moment | None
    draft_number: int | None
    published_number: int | None
