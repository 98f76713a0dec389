"""The typed client reads what the API promises: its structs are held to the published OpenAPI."""

import inspect
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from turncall.client import TurnCall, shapes, suite_shapes
from turncall.client.transport import ServerSentEvent
from turncall_proto.publish import SCHEMA_FOLDER

OPENAPI: dict[str, Any] = msgspec.json.decode((SCHEMA_FOLDER / "openapi.json").read_bytes())
SHAPES = {
    name: shape
    for module in (shapes, suite_shapes)
    for name, shape in inspect.getmembers(module, inspect.isclass)
    if shape.__module__ == module.__name__ and name != "Page"
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shape_has_the_fields_of_the_api(name: str) -> None:
    """Each struct of the client names exactly the properties of the component of the same name, a union's tag too."""
    promised = OPENAPI["components"]["schemas"][name]["properties"]
    written = {field.encode_name for field in msgspec.structs.fields(SHAPES[name])}
    tag_field = SHAPES[name].__struct_config__.tag_field
    assert written | ({tag_field} if tag_field else set()) == set(promised)


class Noted(TurnCall):
    """Notes what would be asked, and asks nobody."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()

    async def request(self, method: str, path: str, answer: Any, **_: Any) -> Any:
        """One request."""
        self.asked.add((method, path.partition("?")[0]))

    async def perform(self, method: str, path: str, **_: Any) -> None:
        """One request."""
        self.asked.add((method, path.partition("?")[0]))

    async def upload(self, path: str, answer: Any, name: str, data: bytes, **_: Any) -> Any:
        """One file."""
        self.asked.add(("POST", path))

    async def download(self, path: str, **_: Any) -> bytes:
        """One request."""
        self.asked.add(("GET", path))
        return b""

    async def live(self, path: str, *, body: Any = None, **_: Any) -> AsyncIterator[ServerSentEvent]:
        """One request."""
        self.asked.add(("GET" if body is None else "POST", path.partition("?")[0]))
        return
        yield


async def test_the_client_has_a_method_for_every_operation() -> None:
    """Every operation that needs a key can be asked for, and nothing that is not one: `turncall.client` is complete."""
    api = Noted()
    for name, method in inspect.getmembers(api, inspect.ismethod):
        if name.startswith("_") or name in Noted.__dict__:
            continue
        needed = [
            parameter.name
            for parameter in inspect.signature(method).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        ]
        asking = method(**{parameter: f"{{{parameter}}}" for parameter in needed})
        if inspect.isasyncgen(asking):
            assert [item async for item in asking] == []
        else:
            await asking
    operations = {
        (method.upper(), re.sub(r"\{.*?\}", "{}", path))
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if operation["x-permission"] not in ("open", "signed")
    }
    asked = {(method, re.sub(r"\{.*?\}", "{}", path)) for method, path in api.asked}
    assert operations - asked == set(), "write a method in libs/cli/src/turncall/client"
    assert asked - operations == set(), "there is no such operation"
