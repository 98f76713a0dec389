"""The API reference is complete to the last field: typed, described, and with an example of everything."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from turncall_proto.publish import SCHEMA_FOLDER

DOCUMENT: dict[str, Any] = msgspec.json.decode((SCHEMA_FOLDER / "openapi.json").read_bytes())
COMPONENTS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (operation["operationId"], operation) for item in DOCUMENT["paths"].values() for operation in item.values()
]

OPEN = {
    "Change.before": "a value of any field of any object",
    "Change.after": "a value of any field of any object",
    "ConfigChange.before": "a value of any field of a config",
    "ConfigChange.after": "a value of any field of a config",
    "ToolUse.arguments": "by the tool's own schema",
    "ToolUse.output": "whatever the user's server answered",
    "ToolCalled.arguments": "by the tool's own schema",
    "ToolUsed.arguments": "by the tool's own schema",
    "ToolUsed.output": "whatever the user's server answered",
    "ToolReturned.output": "whatever the user's server answered",
    "VendorRef.options": "by the vendor's own schema, in vendors.json",
    "WebhookTool.parameters": "a JSON Schema",
    "Analysis.extract|0": "a JSON Schema",
    "Findings.extracted|0": "by the agent's own schema",
    "TalkTool.arguments": "by the tool's own schema",
    "TalkTool.output": "whatever the mock answered",
    "ToolMock.arguments": "by the tool's own schema",
    "ToolMock.answer": "whatever the tool would answer",
    "ToolMock.parameters|0": "a JSON Schema",
    "UsesTool.arguments": "by the tool's own schema",
    "UsesNoTool.arguments": "by the tool's own schema",
    "Findings.takeaways{}": "by the takeaway's own schema",
    "TakeawayNew.schema": "a JSON Schema",
    "TakeawayChange.schema": "a JSON Schema",
    "TakeawayView.schema": "a JSON Schema",
    "StoredFact.data|1": "a fact that a newer release states",
}
"""What is open by its nature, and why; everything else has a type."""


def untyped(schema: Any, at: str) -> Iterator[str]:
    """The paths at which a schema lets anything pass."""
    if not isinstance(schema, Mapping):
        yield at
    elif {"$ref", "enum", "const"} & schema.keys():
        return
    elif union := next((schema[word] for word in ("anyOf", "oneOf", "allOf") if word in schema), None):
        for index, member in enumerate(union):
            yield from untyped(member, f"{at}|{index}")
    elif "type" not in schema:
        yield at
    elif "object" in schema["type"]:
        yield from _open_object(schema, at)
    elif "array" in schema["type"]:
        yield from untyped(schema.get("items"), f"{at}[]")


def _open_object(schema: Mapping[str, Any], at: str) -> Iterator[str]:
    more = schema.get("additionalProperties")
    if "properties" not in schema and not isinstance(more, Mapping):
        yield at
    if isinstance(more, Mapping):
        yield from untyped(more, f"{at}{{}}")
    for name, part in schema.get("properties", {}).items():
        yield from untyped(part, f"{at}.{name}")


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_schema_is_typed_described_and_has_a_valid_example(name: str) -> None:
    """Its docstring says what it is; its example is complete and passes it (`turncall_control.examples`)."""
    schema = COMPONENTS[name]
    assert [path for path in untyped(schema, name) if path not in OPEN] == [], "give the field a type, or say why not"
    assert schema.get("description") or "enum" in schema, f"{name} needs a docstring"
    whole = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})
    assert schema.get("examples"), "a field has a pattern that no text fits: give it Meta(examples=[…])"
    for example in schema["examples"]:
        whole.validate(example)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_an_operation_is_described_to_its_last_parameter(name: str, operation: dict[str, Any]) -> None:
    """What it does, what each parameter means, and what is sent and answered, by a schema that has an example."""
    assert operation["description"], f"{name} needs a docstring"
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), f"{name} does not say what {parameter['name']} is"
        assert list(untyped(parameter["schema"], parameter["name"])) == []
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for holder in (*bodies, *operation["responses"].values()):
        for media, content in holder.get("content", {}).items():
            if media.endswith("json"):
                assert list(untyped(content["schema"], media)) == []
                assert {"$ref", "anyOf"} & content["schema"].keys(), "a shape of its own, which has an example"


def test_nothing_is_called_open_that_is_not() -> None:
    """An exception that no field needs any more is taken off the list."""
    found = {path for name, schema in COMPONENTS.items() for path in untyped(schema, name)}
    assert OPEN.keys() - found == set()
