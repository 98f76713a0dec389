"""What a tool of an agent answers in a test, in its place: nothing of the user's is asked."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from turncall_proto.marks import PERSONAL

UNMOCKED: Final = "This function is not available in this test."
"""What the model is told of a use that no mock fits, and by which the record of a call is known to hold one."""

ToolName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$(?!\n)",
        description="As the agent's model knows it.",
        examples=["book_appointment"],
    ),
]
Arguments = Annotated[
    dict[str, Any],
    Meta(description="Those that a use must have; it may have others beside."),
    PERSONAL,
]


class ToolMock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of one tool. Of several that fit a use, the n-th use gets the n-th, and later ones the last.

    A use that no mock fits is an error of the test: it is neither carried out nor made up.
    """

    tool: ToolName
    arguments: Arguments = field(default_factory=dict)
    answer: Annotated[Any, Meta(description="What the model gets, as JSON."), PERSONAL] = field(default_factory=dict)
    is_exact: Annotated[bool, Meta(description="It answers a use with these arguments and no others beside.")] = False
    fails: Annotated[str, Meta(max_length=500, description="Not empty: the use fails, for this reason.")] = ""
    description: Annotated[
        str, Meta(max_length=1024, description="What the model is told of the tool of an MCP server.")
    ] = ""
    parameters: Annotated[
        dict[str, Any] | None,
        Meta(
            description="JSON Schema of the arguments of a tool of an MCP server, which a test does not ask: with it "
            "the tool is offered to the model of an agent that has MCP servers. Null: the agent defines the tool."
        ),
    ] = None


def answers(mock: ToolMock, asked: dict[str, Any]) -> bool:
    """Whether a mock is for a use of its tool with these arguments."""
    return fits(asked, mock.arguments) and (not mock.is_exact or fits(mock.arguments, asked))


def fits(asked: Any, wanted: Any) -> bool:
    """Whether ``asked`` has all that ``wanted`` has: objects at least these fields, everything else the same."""
    if isinstance(wanted, dict):
        return isinstance(asked, dict) and all(
            name in asked and fits(asked[name], value) for name, value in wanted.items()
        )
    return type(asked) is type(wanted) and bool(asked == wanted)
