"""A scenario of a test suite: who calls, what the agent's tools answer, and what is expected of the agent."""

import re
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from turncall_proto.agent import VendorRef
from turncall_proto.call import EndedReason
from turncall_proto.marks import PERSONAL
from turncall_proto.mock import Arguments, ToolMock, ToolName
from turncall_proto.variables import Variables

MOST_LINES: Final = 50
_WORD: Final = re.compile(r"\w+(?:'\w+)*")

Phrase = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        description="Words that follow each other; case and punctuation do not matter.",
        examples=["a table for two"],
    ),
    PERSONAL,
]
Phrases = Annotated[tuple[Phrase, ...], Meta(min_length=1, max_length=20)]
LineNumber = Annotated[int, Meta(ge=0, le=MOST_LINES)]
InReplyTo = Annotated[
    LineNumber | None,
    Meta(description="Only in reply to this line of the caller's; 0: before the first. Null: anywhere."),
]

Uses = Annotated[int, Meta(ge=1, le=50)]


def spoken(text: str) -> tuple[str, ...]:
    """The words of a text, as phrases are looked for."""
    return tuple(_WORD.findall(text.casefold().replace("’", "'")))


def _require_words(phrases: tuple[str, ...]) -> None:
    if not all(map(spoken, phrases)):
        raise ValueError("a phrase without a word is found everywhere")


class SayLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step", tag="say"):
    """The caller says something, once the agent has answered."""

    text: Annotated[str, Meta(min_length=1, max_length=2000, examples=["I would like to book a table."]), PERSONAL]


class InterruptAgent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step", tag="interrupt"):
    """By phone alone: the caller speaks over the agent once it has spoken for so long at a stretch."""

    text: Annotated[str, Meta(min_length=1, max_length=2000, examples=["Sorry, one moment."]), PERSONAL]
    after_ms: Annotated[int, Meta(ge=100, le=30_000)] = 1000


class StaySilent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step", tag="silence"):
    """By phone alone: the caller says nothing for so long, once the agent has answered."""

    length_ms: Annotated[int, Meta(ge=100, le=60_000)]


class PressKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step", tag="press"):
    """By phone alone: the caller presses keys, once the agent has answered."""

    digits: Annotated[str, Meta(pattern=r"^[0-9A-D*#]{1,64}$(?!\n)", examples=["12#"]), PERSONAL]


Step = SayLine | InterruptAgent | StaySilent | PressKeys


class Scripted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="script"):
    """A caller who does one step after the other, whatever is answered, and hangs up behind the last answer."""

    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MOST_LINES)]


class Persona(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="persona"):
    """A caller who is played by a language model, and hangs up when the goal is reached or out of reach."""

    who: Annotated[
        str, Meta(min_length=1, max_length=4000, examples=["An impatient regular who never says more than needed."])
    ]
    goal: Annotated[str, Meta(min_length=1, max_length=2000, examples=["A table for two tonight at eight."])]
    model: Annotated[VendorRef | None, Meta(description="Who plays the caller; null: the agent's language model.")] = (
        None
    )
    most_lines: Annotated[int, Meta(ge=1, le=MOST_LINES, description="Then the caller hangs up in any case.")] = 12


Caller = Scripted | Persona


class Sound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a caller sounds on the phone; in writing nobody hears it."""

    voice: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=r"^(?:[a-z]{2,3}(?:-[a-z0-9]+)*(?:\+[a-z0-9_]+)?)?$(?!\n)",
            description="A voice of espeak-ng: its language gives the accent, what follows a + the speaker. Empty: the "
            "test line's own, a clear American one.",
            examples=["en-gb-scotland", "en-us+f3", "de"],
        ),
    ] = ""
    noise_snr_db: Annotated[
        Annotated[int, Meta(ge=-10, le=60)] | None,
        Meta(description="Steady noise behind the caller, so far below speech; null: a quiet line."),
    ] = None


def speaks_only(caller: Caller) -> bool:
    """Whether all that the caller does can be done in writing too."""
    return not isinstance(caller, Scripted) or all(isinstance(step, SayLine) for step in caller.steps)


class SaysOneOf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="said"):
    """The agent says one of these phrases."""

    any_of: Phrases
    in_reply_to: InReplyTo = None

    def __post_init__(self) -> None:
        _require_words(self.any_of)


class SaysNoneOf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="not_said"):
    """The agent says none of these phrases."""

    none_of: Phrases
    in_reply_to: InReplyTo = None

    def __post_init__(self) -> None:
        _require_words(self.none_of)


class UsesTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="tool_called"):
    """The agent uses a tool, with at least these arguments."""

    tool: ToolName
    arguments: Arguments = field(default_factory=dict)
    times: Annotated[Uses | None, Meta(description="Exactly so often; null: at least once.")] = None


class UsesNoTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="tool_not_called"
):
    """The agent does not use a tool with these arguments."""

    tool: ToolName
    arguments: Arguments = field(default_factory=dict)


class Ends(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="ended"):
    """The conversation ends for this reason."""

    reason: Annotated[
        EndedReason,
        Meta(
            description="By phone as calls end. In writing: assistant_ended_call, transferred for a handoff, "
            "customer_ended_call when the caller was the one to hang up."
        ),
    ]


class AnswersWithin(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="answered_within"
):
    """Every line of the caller's is answered, and each within this time."""

    max_ms: Annotated[int, Meta(ge=1, le=120_000)]


class MeetsRubric(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="expect", tag="rubric"):
    """A model that reads the conversation finds that this holds."""

    holds: Annotated[
        str, Meta(min_length=1, max_length=2000, examples=["The agent repeats day and time before it books."])
    ]


Expectation = SaysOneOf | SaysNoneOf | UsesTool | UsesNoTool | Ends | AnswersWithin | MeetsRubric


def can_fail(expectation: Expectation) -> bool:
    """Whether an agent that does nothing at all would not meet it."""
    match expectation:
        case SaysNoneOf() | UsesNoTool():
            return False
        case Ends():
            return expectation.reason is not EndedReason.CUSTOMER_ENDED_CALL
        case _:
            return True


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One conversation that is had with an agent to see what it does."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=120,
            pattern=r"^[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$(?!\n)",
            description="Unique in its suite.",
            examples=["Books a table"],
        ),
    ]
    caller: Caller
    sound: Sound = Sound()
    expects: Annotated[
        tuple[Expectation, ...],
        Meta(
            min_length=1,
            max_length=50,
            description="All must be met. One at least is such that an agent which does nothing fails it.",
            examples=[[{"expect": "said", "any_of": ["a table for two"]}]],
        ),
    ]
    mocks: Annotated[tuple[ToolMock, ...], Meta(max_length=200)] = ()
    variables: Variables = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not any(map(can_fail, self.expects)):
            raise ValueError("an agent that does nothing would pass: expect something that it says or does")


class TalkTurn(Struct, frozen=True, kw_only=True):
    """What the caller said, and what the agent answered and did before the caller spoke again.

    The first turn has no line of the caller's when the agent had the first word. ``latency_ms`` is None where nothing
    was answered or nobody waited.
    """

    caller: Annotated[str, PERSONAL]
    agent: Annotated[str, PERSONAL]
    latency_ms: int | None = None
    tools: tuple["TalkTool", ...] = ()


class TalkTool(Struct, frozen=True, kw_only=True):
    """One use of a tool."""

    tool: str
    arguments: Annotated[dict[str, Any], PERSONAL]
    is_ok: bool | None
    output: Annotated[Any, PERSONAL] = None


class Talk(Struct, frozen=True, kw_only=True):
    """A conversation of a test. ``unmocked`` says which use of a tool no mock fitted; the test ends with it."""

    turns: tuple[TalkTurn, ...]
    ended: EndedReason
    unmocked: str = ""
