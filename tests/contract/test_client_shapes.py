"""The typed client reads what the API promises: its structs are held to the published OpenAPI."""

import inspect
from typing import Any

import msgspec
import pytest

from turncall.client import shapes
from turncall_proto.publish import SCHEMA_FOLDER

OPENAPI: dict[str, Any] = msgspec.json.decode((SCHEMA_FOLDER / "openapi.json").read_bytes())
SHAPES = {
    name: shape
    for name, shape in inspect.getmembers(shapes, inspect.isclass)
    if shape.__module__ == shapes.__name__ and name != "Page"
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shape_has_the_fields_of_the_api(name: str) -> None:
    """Each struct of the client names exactly the properties of the component of the same name, a union's tag too."""
    promised = OPENAPI["components"]["schemas"][name]["properties"]
    written = {field.encode_name for field in msgspec.structs.fields(SHAPES[name])}
    tag_field = SHAPES[name].__struct_config__.tag_field
    assert written | ({tag_field} if tag_field else set()) == set(promised)


def test_every_path_of_the_client_exists() -> None:
    """What the client asks for is a route."""
    source = inspect.getsource(__import__("turncall.client.api", fromlist=["TurnCall"]))
    paths = {path.replace("{", "").replace("}", "") for path in OPENAPI["paths"]}
    asked = {
        line.split('"')[1].split("{query}")[0].replace("{", "").replace("}", "")
        for line in source.splitlines()
        if '"/v1/' in line
        for line in [line[line.index('"/v1/') :]]
    }
    assert asked
    assert asked <= paths, asked - paths
