"""An agent's tools in a test: what they answer is written down, and nobody outside is asked."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from msgspec import json
from msgspec.structs import replace

from turncall_media.tools.shape import Function, Invocation, ToolFailed, function
from turncall_proto.agent import AgentSpec, EndCallTool, HandoffTool, Tool
from turncall_proto.mock import UNMOCKED, ToolMock, answers

_LONGEST: Final = 300


class Mocks:
    """The mocks of one conversation, and how often each tool was used with them.

    ``unmocked`` names the first use that none of them fits, empty as long as there was none.
    """

    def __init__(self, mocks: Sequence[ToolMock]) -> None:
        self._mocks = mocks
        self._uses: dict[tuple[int, ...], int] = {}
        self.unmocked = ""

    def functions(self, agent: AgentSpec) -> list[Function]:
        """What the agent's model may use: each tool of its own, and those that stand for its MCP servers'."""
        own = [self._own(tool) for tool in agent.tools]
        taken = {tool.name for tool in own}
        told = {mock.tool: mock for mock in reversed(self._mocks) if mock.parameters is not None}
        if not agent.mcp_servers:
            return own
        return own + [self._of_server(mock) for name, mock in told.items() if name not in taken]

    def _own(self, tool: Tool) -> Function:
        """To end the conversation, or to give it away, asks nobody: without a mock these do it."""
        made = function(tool)
        is_mocked = any(mock.tool == tool.name for mock in self._mocks)
        if not is_mocked and isinstance(tool, EndCallTool | HandoffTool):
            return made
        return replace(made, run=partial(self._answer, tool.name), ends_reply=False)

    def _of_server(self, mock: ToolMock) -> Function:
        assert mock.parameters is not None  # which is how it came here
        return Function(
            name=mock.tool,
            description=mock.description,
            parameters=mock.parameters,
            run=partial(self._answer, mock.tool),
        )

    async def _answer(self, tool: str, invocation: Invocation) -> Any:
        asked = invocation.arguments
        fitting = [index for index, mock in enumerate(self._mocks) if mock.tool == tool and answers(mock, asked)]
        if not fitting:
            self.unmocked = self.unmocked or f"{tool}({json.encode(asked).decode()})"[:_LONGEST]
            raise ToolFailed(UNMOCKED)
        use = self._uses.get(tuple(fitting), 0)
        self._uses[tuple(fitting)] = use + 1
        mock = self._mocks[fitting[min(use, len(fitting) - 1)]]
        if mock.fails:
            raise ToolFailed(mock.fails)
        return mock.answer
