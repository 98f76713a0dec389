"""Which tools of an MCP server are offered, and what is wrong with the others."""

from typing import Any

import pytest
from mcp.types import CallToolResult, ImageContent, TextContent, Tool, ToolAnnotations

from turncall_media.tools.shape import ToolFailed
from turncall_media.toolservers.answers import answer
from turncall_media.toolservers.doors import commands
from turncall_media.toolservers.errors import ServerAway, reason
from turncall_media.toolservers.listing import LARGEST_SCHEMA_BYTES, offer
from turncall_proto.mcp import McpServer, McpStdio

OBJECT: dict[str, Any] = {"type": "object", "properties": {"phone": {"type": "string"}}, "required": ["phone"]}
SERVER = McpServer(name="crm", transport=McpStdio(command="crm"))


async def unused(*_: Any) -> None:
    """Nothing is used here."""


def offered(tool: Tool, server: McpServer = SERVER, taken: tuple[str, ...] = ()) -> str:
    """The name under which the model gets the tool, or why it does not."""
    made = offer(server, [tool], taken, unused)
    return made.functions[0].name if made.functions else made.left_out[0].why


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (Tool(name="find.customer v2", input_schema=OBJECT), "crm_find_customer_v2"),
        (Tool(name="x" * 100, input_schema=OBJECT), "crm_" + "x" * 60),
        (Tool(name="a", input_schema={"type": "nonsense"}), "its schema is no JSON Schema"),
        (Tool(name="a", input_schema={"type": "array"}), "its arguments are no object"),
        (
            Tool(name="a", input_schema=OBJECT | {"description": "x" * LARGEST_SCHEMA_BYTES}),
            f"its schema is longer than {LARGEST_SCHEMA_BYTES} bytes",
        ),
    ],
)
def test_names_and_schemas_are_such_as_models_take(tool: Tool, expected: str) -> None:
    """What no model could be told is left out, with the reason."""
    assert offered(tool) == expected


def test_a_name_that_is_taken_stays_with_who_has_it() -> None:
    """The agent's own tools go before a server's."""
    assert offered(Tool(name="a", input_schema=OBJECT), taken=("crm_a",)) == "another tool is called crm_a"


@pytest.mark.parametrize(
    ("hints", "repeatable"),
    [
        (None, False),
        (ToolAnnotations(read_only_hint=True), True),
        (ToolAnnotations(idempotent_hint=True), True),
        (ToolAnnotations(destructive_hint=True), False),
    ],
)
def test_only_what_does_no_harm_twice_is_repeated(hints: ToolAnnotations | None, repeatable: bool) -> None:
    """Another worker uses it again only if its server says so."""
    (made,) = offer(SERVER, [Tool(name="a", input_schema=OBJECT, annotations=hints)], (), unused).functions
    assert made.is_repeatable is repeatable


def test_answers_are_structured_or_text_and_name_what_they_leave_out() -> None:
    """A picture is not read aloud."""
    text, image = TextContent(type="text", text="Yes."), ImageContent(type="image", data="aa", mime_type="image/png")
    assert answer(CallToolResult(content=[text, image]), 300) == "Yes.\n[image left out]"
    assert answer(CallToolResult(content=[text], structured_content={"is": True}), 300) == {"is": True}
    long = answer(CallToolResult(content=[], structured_content={"is": "ä" * 300}), 300)
    assert long["is_truncated"]
    with pytest.raises(ToolFailed, match="Closed"):
        answer(CallToolResult(content=[TextContent(type="text", text="Closed.")], is_error=True), 300)


def test_programs_are_named_once_by_the_operator() -> None:
    """Arguments are words as a shell would split them; nonsense stops the start."""
    assert commands(("crm=/bin/crm --db 'a b'",)) == {"crm": ("/bin/crm", "--db", "a b")}
    with pytest.raises(ValueError, match="is not name=program"):
        commands(("/bin/crm",))


def test_a_reason_is_found_in_whatever_tasks_fail_with() -> None:
    """Groups and chains are looked through for what its author can act on."""
    inner = ServerAway("the operator has named no program 'x'")
    assert reason(ExceptionGroup("tasks", [ExceptionGroup("tasks", [inner])])) == str(inner)
    assert reason(ConnectionError()) == "it cannot be reached (ConnectionError)"
