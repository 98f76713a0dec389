"""A real MCP server in a process of its own: ``python mcp_server.py http|sse|stdio LOG``.

It writes a line of JSON to LOG for each use of a tool, and over HTTP first prints the port that it listens on.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("shop", log_level="CRITICAL")
log = Path(sys.argv[2])


def note(tool: str, arguments: dict[str, Any], context: Context) -> None:
    request = context.request_context.request
    headers = dict(request.headers) if request is not None else {}
    meta = dict(context.request_context.meta or {})
    with log.open("a") as file:
        file.write(
            json.dumps({"tool": tool, "arguments": arguments, "headers": headers, "meta": meta}, default=str) + "\n"
        )


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find_customer(city: str, phone: str, context: Context) -> dict[str, str]:
    """Finds a customer."""
    note("find_customer", {"city": city, "phone": phone}, context)
    return {"name": "Ada", "phone": phone}


@server.tool()
def order(item: str, context: Context) -> str:
    """Orders something."""
    note("order", {"item": item}, context)
    return f"Ordered {item}."


@server.tool()
def fail() -> str:
    """Never works."""
    raise ToolError("The shop is closed.")


@server.tool()
def tell(size: int) -> str:
    """Tells so many bytes."""
    return "x" * size


@server.tool()
async def wait(seconds: float) -> str:
    """Takes its time."""
    await anyio.sleep(seconds)
    return "waited"


@server.tool(name="drop.all-tables")
def drop() -> str:
    """Not for agents."""
    return "dropped"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        app = server.sse_app() if sys.argv[1] == "sse" else server.streamable_http_app()
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])
