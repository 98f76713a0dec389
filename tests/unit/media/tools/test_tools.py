"""What a tool's arguments must be, and what each kind of tool offers."""

from pathlib import Path
from typing import Any

import pytest

import turncall_media.tools
from turncall_media.pipelines.toolbox import LARGEST_ARGUMENTS_CHARACTERS, WholeSchema, check, checked, schemas
from turncall_media.tools.shape import ToolFailed, function, load
from turncall_proto.agent import EndCallTool, Tool, WebhookTool

SCHEMA = {
    "type": "object",
    "properties": {"seats": {"type": "integer", "minimum": 1}, "day": {"$ref": "#/$defs/day"}},
    "required": ["seats"],
    "additionalProperties": False,
    "$defs": {"day": {"enum": ["friday", "saturday"]}},
}


@pytest.mark.parametrize("arguments", [{"seats": 2}, {"seats": 2, "day": "friday"}])
def test_fitting_arguments_pass(arguments: dict[str, Any]) -> None:
    """The whole schema counts, its definitions included."""
    check(SCHEMA, arguments)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "'seats' is a required property"),
        ({"seats": 0}, "seats: 0 is less than the minimum"),
        ({"seats": 2, "day": "monday"}, "day: 'monday' is not one of"),
        ({"seats": 2, "wine": True}, "Additional properties"),
        ({"seats": 2, "day": "x" * LARGEST_ARGUMENTS_CHARACTERS}, "too long"),
    ],
)
def test_complaint_names_the_field(arguments: dict[str, Any], complaint: str) -> None:
    """A model that is told what is wrong can call again."""
    with pytest.raises(ToolFailed, match=complaint):
        check(SCHEMA, arguments)


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}]
)
def test_broken_or_remote_schema_is_refused_without_a_request(schema: dict[str, Any]) -> None:
    """A reference to a URL is not followed: it would get past the egress wall."""
    with pytest.raises(ToolFailed, match="not set up"):
        check(schema, {"a": 1})


@pytest.mark.parametrize("tool", [EndCallTool(), WebhookTool(name="a", description="b", url="http://x.example/")])
def test_every_kind_is_one_file(tool: Tool) -> None:
    """A tool's tag is its file's name; the file gives an object schema."""
    module = load(tool)
    assert module.parameters(tool)["type"] == "object"
    assert isinstance(module.ENDS_REPLY, bool)
    assert (Path(turncall_media.tools.__file__).parent / f"{tool.__struct_config__.tag}.py").exists()


@pytest.mark.proves("agent.tools.webhook.parameters")
def test_model_sees_the_whole_schema() -> None:
    """Definitions and closedness reach the model, not only properties."""
    tool = WebhookTool(name="book", description="Books a table.", url="http://x.example/", parameters=SCHEMA)
    assert WholeSchema(function(tool)).to_default_dict()["parameters"] == SCHEMA


@pytest.mark.proves("agent.tools.end_call.name", "agent.tools.webhook.name", "agent.tools.webhook.description")
def test_model_gets_to_know_tools_by_their_names() -> None:
    """Name and description of each tool are the agent's, whatever their kind."""
    hook = WebhookTool(name="book", description="Books a table.", url="http://x.example/")
    shown = [
        tool.to_default_dict() for tool in schemas([function(EndCallTool(name="bye")), function(hook)]).standard_tools
    ]
    assert [tool["name"] for tool in shown] == ["bye", "book"]
    assert shown[1]["description"] == "Books a table."


def bound_to(value: str) -> WebhookTool:
    return WebhookTool(
        name="book",
        description="Books a table.",
        url="http://x.example/",
        parameters={
            "type": "object",
            "properties": {"seats": {"type": "integer"}, "phone": {"type": "string"}},
            "required": ["seats", "phone"],
            "additionalProperties": False,
        },
        bound={"phone": value},
    )


def test_model_does_not_see_what_is_bound() -> None:
    """The argument is neither offered nor wanted from the model, and is there all the same."""
    shown = WholeSchema(function(bound_to("+15550001"))).to_default_dict()["parameters"]
    assert (list(shown["properties"]), shown["required"]) == (["seats"], ["seats"])
    assert checked(function(bound_to("+15550001")), {"seats": 2}) == {"seats": 2, "phone": "+15550001"}


@pytest.mark.parametrize(
    ("value", "arguments", "complaint"),
    [
        ("+15550001", {"seats": 2, "phone": "+15559999"}, "phone is not yours to set"),
        ("+15550001", {"seats": 2, "phone": "+15550001"}, "phone is not yours to set"),
        ("", {"seats": 2}, "phone is not known"),
    ],
)
def test_model_cannot_set_what_is_bound(value: str, arguments: dict[str, Any], complaint: str) -> None:
    """Not even to the same value; and without a value nobody is passed for somebody."""
    with pytest.raises(ToolFailed, match=complaint):
        checked(function(bound_to(value)), arguments)


def test_what_the_caller_entered_is_filled_in_and_not_shown() -> None:
    """Nobody reads it in what does not fit; without it the function is not used."""
    card = function(bound_to("{{call.keys}}"))
    assert checked(card, {"seats": 2}, "4711")["phone"] == "4711"
    with pytest.raises(ToolFailed, match="phone is not known"):
        checked(card, {"seats": 2})
    card.parameters["properties"]["phone"]["maxLength"] = 3
    with pytest.raises(ToolFailed, match=r"'\*\*\*\*' is too long"):
        checked(card, {"seats": 2}, "4711")


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "cookie", "X-Auth-Token", "client_secret"])
def test_headers_that_would_hold_secrets_are_refused(name: str) -> None:
    """Whoever may read an agent reads its headers."""
    with pytest.raises(ValueError, match="secret"):
        WebhookTool(name="a", description="b", url="http://x.example/", headers={name: "x"})


@pytest.mark.parametrize("name", ["Host", "content-length", "Webhook-Id", "Idempotency-Key", "no name", ""])
def test_headers_that_are_ours_are_refused(name: str) -> None:
    """What says who asks, and how long the request is, is not the agent's to say."""
    with pytest.raises(ValueError, match="may set"):
        WebhookTool(name="a", description="b", url="http://x.example/", headers={name: "x"})
