"""What a bound number does with its calls; without Postgres, the last known of that, and what callers were told."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from turncall_control.settings import FALLBACK_LANGUAGE
from turncall_proto.agent import AgentSpec, Name
from turncall_proto.ids import AgentId, CallId, NumberId, ProjectId, VersionId
from turncall_proto.marks import PERSONAL

KNOWN_AT_MOST: Final = 10_000
"""Numbers, and versions of agents, that a process keeps: some 50 MB of definitions at their usual size."""

AgentRef = Annotated[AgentId, Meta(pattern=r"^agt_[0-9a-f]{32}$(?!\n)", description="An agent of this project.")]
E164 = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="+14155550100"), PERSONAL]
Sentence = Annotated[str, Meta(min_length=1, max_length=500, description="Spoken by the carrier's own voice.")]


class AgentTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="agent"):
    """One agent answers, in its published version."""

    agent_id: AgentRef


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several agents, and how many callers of a hundred it gets."""

    name: Annotated[Name, Meta(description="Stamped on the calls that fall to it.")]
    agent_id: AgentRef
    weight: Annotated[int, Meta(ge=1, le=99)]


class WeightedTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="weighted"):
    """Callers are divided among variants: the same caller gets the same one, for as long as these stay as they are."""

    variants: Annotated[tuple[Variant, ...], Meta(min_length=2, max_length=10, description="Weights sum up to 100.")]

    def __post_init__(self) -> None:
        if sum(variant.weight for variant in self.variants) != 100:
            raise ValueError("the weights of the variants must sum up to 100")
        for told in ("name", "agent_id"):
            if len({getattr(variant, told) for variant in self.variants}) != len(self.variants):
                raise ValueError(f"every variant must have a {told} of its own")


class WebhookTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """The project's own server says who answers each call; when it does not in time, the fallback agent answers.

    It gets a ``call-init`` request, signed with the project's signing secret, and has three seconds.
    """

    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2048)]
    signed_replies: Annotated[
        bool,
        Meta(description="Whether replies must be signed too: with the same secret, under the request's webhook-id."),
    ] = False


Target = AgentTarget | WeightedTarget | WebhookTarget


def aims(target: Target) -> Iterator[tuple[str, AgentId]]:
    """Every agent that a target names, with the path at which it does."""
    match target:
        case AgentTarget(agent_id=agent_id):
            yield "routing.agent_id", agent_id
        case WeightedTarget(variants=variants):
            for index, variant in enumerate(variants):
                yield f"routing.variants[{index}].agent_id", variant.agent_id


class Fallback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gets whom the target cannot serve: an agent; without one a person; without one a sentence."""

    agent_id: Annotated[AgentRef | None, Meta(description="Answers when the target names no agent that can.")] = None
    number: Annotated[E164 | None, Meta(description="Rung when no agent can take the call, or go on with it.")] = None
    sentence: Annotated[Sentence | None, Meta(description="The last words when nobody is left.")] = None


class Hold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="hold"):
    """Callers wait for a free worker; in vain, they get the fallback."""

    message: Annotated[Sentence, Meta(description="Spoken once, at the beginning.")] = (
        "Please hold the line, we will be with you in a moment."
    )
    wait_s: Annotated[int, Meta(ge=1, le=300, description="How long a caller waits at most.")] = 20


class Forward(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="forward"):
    """Callers are connected to the fallback number at once."""


class Reject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="reject"):
    """Callers hear the busy tone; the call is never answered."""


Busy = Hold | Forward | Reject


class Channels(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a number is used for."""

    voice: Annotated[bool, Meta(description="Off, calls are rejected without being answered.")] = True
    whatsapp: Annotated[bool, Meta(description="Off, WhatsApp messages are left alone, and none are sent.")] = True
    sms: Annotated[bool, Meta(description="Off, SMS to it are left alone, and none are sent from it.")] = True


class Settings(Struct, frozen=True, kw_only=True):
    """All that a number's owner decides about it."""

    routing: Target
    fallback: Fallback = field(default_factory=Fallback)
    busy: Busy = field(default_factory=Hold)
    channels: Channels = field(default_factory=Channels)

    def agents(self) -> Iterator[tuple[str, AgentId]]:
        """Every agent that the settings name, with the path at which they do."""
        yield from aims(self.routing)
        if self.fallback.agent_id is not None:
            yield "fallback.agent_id", self.fallback.agent_id


class BoundNumber(Struct, frozen=True, kw_only=True):
    """A number as its calls see it. ``account`` owns it at the carrier; empty for the installation's.

    ``default_language`` is the project's.
    """

    project_id: ProjectId
    number_id: NumberId
    settings: Settings
    account: str = ""
    default_language: str = FALLBACK_LANGUAGE


class Published(Struct, frozen=True, kw_only=True):
    """An agent in the version that answers calls."""

    agent_id: AgentId
    version_id: VersionId


class Decision(Struct, frozen=True, kw_only=True):
    """How it was decided who answers a call, where the number does not simply name one agent."""

    kind: Annotated[Literal["agent", "weighted", "webhook"], Meta(description="What the number's routing is.")]
    is_inline: Annotated[bool, Meta(description="Whether the project's server sent a definition for this call.")]
    is_fallback: Annotated[bool, Meta(description="Whether the fallback agent answers, or nobody, because of why.")]
    why: Annotated[str, Meta(description="Why the routing gave nobody; empty when it did.")]
    asked_ms: Annotated[int | None, Meta(description="How long the project's server took; null if it was not asked.")]
    attempts: Annotated[int, Meta(description="Requests to the project's server.")]


class Routed(Struct, frozen=True, kw_only=True):
    """Who answers a call and how that was decided; neither agent nor definition when nobody can.

    ``is_fallback``: the target did not give what answers, because of ``why``. ``asked_ms`` and ``attempts`` are those
    of the request to the user's server, which may also have sent variables, metadata and what the prompt is to know.
    """

    kind: Literal["agent", "weighted", "webhook"]
    published: Published | None = None
    inline: AgentSpec | None = None
    variant: str | None = None
    is_fallback: bool = False
    why: str = ""
    asked_ms: int | None = None
    attempts: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    knowledge_context: str = ""

    @property
    def agent_id(self) -> AgentId | None:
        """The agent that answers; None when its definition came with the call, or when nobody does."""
        return self.published.agent_id if self.published else None

    @property
    def version_id(self) -> VersionId | None:
        """The version that answers; None like the agent."""
        return self.published.version_id if self.published else None

    @property
    def decision(self) -> Decision:
        """How it was decided."""
        return Decision(
            kind=self.kind,
            is_inline=self.inline is not None,
            is_fallback=self.is_fallback,
            why=self.why,
            asked_ms=self.asked_ms,
            attempts=self.attempts,
        )

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell about the decision: the number's one agent answers."""
        return self.kind == "agent" and not self.is_fallback


def variant_for(variants: tuple[Variant, ...], caller: str, call_id: CallId) -> Variant:
    """The variant of a caller: by the SHA-256 of the number, of the call's id for a caller who shows none.

    The first eight bytes of the hash, big-endian, modulo 100, fall into the weights laid end to end.
    """
    shown = caller if caller.startswith("+") and caller[1:].isdigit() else call_id
    point = int.from_bytes(sha256(shown.encode()).digest()[:8]) % 100
    for variant in variants:
        point -= variant.weight
        if point < 0:
            return variant
    raise ValueError("the weights of the variants do not sum up to 100")


class Routing:
    """The last known numbers by carrier and E.164, and the agents behind them; the ones used least lately go first."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[tuple[str, str], BoundNumber] = OrderedDict()
        self._published: dict[AgentId, VersionId] = {}
        self._agents: dict[VersionId, AgentSpec] = {}
        self.is_stale = asyncio.Event()
        """Set by whoever knows that a number or an agent has changed: it is time to look again."""

    def know(self, numbers: Mapping[tuple[str, str], BoundNumber], published: Mapping[AgentId, VersionId]) -> None:
        """Takes these numbers for all there are, as far as they fit; agents that none leads to are forgotten."""
        self._numbers = OrderedDict(list(numbers.items())[:KNOWN_AT_MOST])
        self._published = dict(published)
        wanted = set(self._published.values())
        self._agents = {version: agent for version, agent in self._agents.items() if version in wanted}

    def used(self, provider: str, e164: str, number: BoundNumber) -> None:
        """Notes a number that was just looked up."""
        self._numbers[provider, e164] = number
        self._numbers.move_to_end((provider, e164))
        while len(self._numbers) > KNOWN_AT_MOST:
            self._numbers.popitem(last=False)

    def projects(self) -> Collection[ProjectId]:
        """The projects whose numbers are known."""
        return {number.project_id for number in self._numbers.values()}

    def unknown_agents(self) -> Collection[VersionId]:
        """The published versions whose definition is not known yet."""
        return set(self._published.values()) - self._agents.keys()

    def learn(self, published: Published) -> None:
        """Notes the version that an agent answers with."""
        self._published[published.agent_id] = published.version_id

    def learn_version(self, version_id: VersionId, agent: AgentSpec) -> None:
        """Notes the definition of a version, which never changes."""
        self._agents[version_id] = agent

    def recall_version(self, version_id: VersionId) -> AgentSpec | None:
        """The definition of a version; None when it was never seen."""
        return self._agents.get(version_id)

    def recall(self, provider: str, e164: str) -> BoundNumber | None:
        """The last known settings of a number; None when it was never seen."""
        return self._numbers.get((provider, e164))

    def recall_agent(self, agent_id: AgentId) -> tuple[Published, AgentSpec] | None:
        """The last known published version of an agent; None when that, or its definition, was never seen."""
        version_id = self._published.get(agent_id)
        agent = version_id and self._agents.get(version_id)
        return (Published(agent_id=agent_id, version_id=version_id), agent) if version_id and agent else None


TOLD_AT_MOST: Final = 2_000
TOLD_FOR_S: Final = 60.0
"""How long an answer is good for: as long as the address of the media socket in it."""


class Answer:
    """What a carrier was told about one call; ``turn`` is held while it is decided."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.document: str | None = None
        self.made_s = time.monotonic()


class Told:
    """Answers that no row holds, so that a repeat on this process gets the same. The oldest go first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[CallId, Answer] = OrderedDict()

    def about(self, call_id: CallId) -> Answer:
        """The answer of a call, to be made by whoever has its turn first."""
        known = self._answers.get(call_id)
        if known is None or time.monotonic() - known.made_s > TOLD_FOR_S:
            known = self._answers[call_id] = Answer()
            self._answers.move_to_end(call_id)
        while len(self._answers) > TOLD_AT_MOST:
            self._answers.popitem(last=False)
        return known

    def recall(self, call_id: CallId) -> str | None:
        """What was told about a call lately; None when that was nothing."""
        known = self._answers.get(call_id)
        if known is None or time.monotonic() - known.made_s > TOLD_FOR_S:
            return None
        return known.document
