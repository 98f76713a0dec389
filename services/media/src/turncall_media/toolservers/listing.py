"""Which tools of an MCP server an agent's model may use, and as what. Pure."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from mcp.types import Tool
from msgspec import Struct, json

from turncall_media.tools.shape import Function, Invocation
from turncall_proto.events import LeftOut
from turncall_proto.mcp import McpServer

LARGEST_SCHEMA_BYTES: Final = 16 * 1024
LONGEST_DESCRIPTION: Final = 1024
"""As long as a tool's of the agent may be."""
LONGEST_NAME: Final = 64
"""What models take."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")

Use = Callable[[str, Invocation], Awaitable[Any]]
"""Uses the server's tool of this name."""


class Offer(Struct, frozen=True, kw_only=True):
    """What became of a server's tools."""

    functions: tuple[Function, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class _Unfit(Exception):
    """Why a tool is not offered."""


def offer(server: McpServer, listed: Sequence[Tool], taken: Collection[str], use: Use) -> Offer:
    """The functions that the model gets of ``listed``. ``taken`` are names that it knows already.

    A tool that cannot be offered as the agent's author means it is left out, and so is one that is named and not there.
    """
    functions: dict[str, Function] = {}
    left_out: list[LeftOut] = []
    for tool in listed:
        if server.tools is not None and tool.name not in server.tools:
            continue  # the author said so
        try:
            if len(functions) >= server.most_tools:
                raise _Unfit(f"{server.most_tools} are the most that this server may offer")
            made = _function(server, tool, use)
            if made.name in taken or made.name in functions:
                raise _Unfit(f"another tool is called {made.name}")
            functions[made.name] = made
        except _Unfit as why:
            left_out.append(LeftOut(tool=tool.name[:LONGEST_NAME], why=str(why)))
    there = {tool.name for tool in listed}
    missing = [name for name in (*(server.tools or ()), *server.bound) if name not in there]
    left_out += [LeftOut(tool=name, why="the server has no such tool") for name in dict.fromkeys(missing)]
    return Offer(functions=tuple(functions.values()), left_out=tuple(left_out))


def _function(server: McpServer, tool: Tool, use: Use) -> Function:
    schema, bound = tool.input_schema, server.bound.get(tool.name, {})
    _require_usable(schema)
    for name in bound:
        kind = schema.get("properties", {}).get(name)
        if not isinstance(kind, dict) or kind.get("type", "string") != "string":
            raise _Unfit(f"{name} is bound, and no text among its arguments")
    hints = tool.annotations
    return Function(
        name=_NOT_IN_NAMES.sub("_", f"{server.name}_{tool.name}")[:LONGEST_NAME],
        description=(tool.description or tool.title or tool.name)[:LONGEST_DESCRIPTION],
        parameters=schema,
        run=partial(use, tool.name),
        bound=bound,
        is_repeatable=bool(hints and (hints.read_only_hint or hints.idempotent_hint)),
    )


def _require_usable(schema: dict[str, Any]) -> None:
    if len(json.encode(schema)) > LARGEST_SCHEMA_BYTES:
        raise _Unfit(f"its schema is longer than {LARGEST_SCHEMA_BYTES} bytes")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _Unfit("its schema is no JSON Schema") from error
    if schema.get("type") != "object" or not isinstance(schema.get("properties", {}), dict):
        raise _Unfit("its arguments are no object")
