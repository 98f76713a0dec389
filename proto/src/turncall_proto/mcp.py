"""MCP servers of an agent: how each is reached, and what of its tools the model may use."""

from typing import Annotated

from msgspec import Meta, Struct, field

from turncall_proto.bound import Bound
from turncall_proto.headers import Headers, require_settable

ServerUrl = Annotated[str, Meta(pattern=r"^https?://", max_length=2048, examples=["https://crm.example/mcp"])]
ToolName = Annotated[str, Meta(min_length=1, max_length=128, description="As the server names it.")]


class McpHttp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="http"):
    """Streamable HTTP."""

    url: ServerUrl
    headers: Headers = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_settable(self.headers)


class McpSse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sse"):
    """HTTP with server-sent events, as servers before 2025 speak it."""

    url: ServerUrl
    headers: Headers = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_settable(self.headers)


class McpStdio(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="stdio"):
    """A program on the worker's machine, one process for each call."""

    command: Annotated[
        str,
        Meta(
            pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)",
            examples=["inventory"],
            description="One that the operator has named in TURNCALL_MCP_COMMANDS; there is none unless they have.",
        ),
    ]


class McpServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server whose tools the model may use. They are looked up when a call begins, and a server that is away by
    then offers none in that call; the greeting waits for nobody."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)",
            examples=["crm"],
            description="The model sees a tool as this name, an underscore, and the tool's own name.",
        ),
    ]
    transport: McpHttp | McpSse | McpStdio
    tools: (
        Annotated[
            tuple[ToolName, ...],
            Meta(max_length=100, description="Those that the model may use; null: all of them, up to most_tools."),
        ]
        | None
    ) = None
    bound: Annotated[
        dict[ToolName, Bound],
        Meta(
            max_length=100,
            description="For a tool by its name. A tool that turns out to have no such argument is not offered.",
        ),
    ] = field(default_factory=dict)
    most_tools: Annotated[int, Meta(ge=1, le=100, description="The first so many are offered.")] = 50
    timeout_ms: Annotated[int, Meta(ge=100, le=60_000, description="For each use of a tool.")] = 10_000
    max_result_bytes: Annotated[
        int, Meta(ge=256, le=32_768, description="Of the answer, the model gets so much, and is told what is missing.")
    ] = 32_768
