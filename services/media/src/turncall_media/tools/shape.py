"""What a tool's file must define, and what a tool may reach: ``tools/<kind>.py``, found on disk, listed nowhere."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Protocol, cast

from msgspec import Struct

from turncall_egress import EgressClient
from turncall_proto.agent import Tool
from turncall_proto.call import EndedReason
from turncall_proto.ids import CallId


class ToolFailed(Exception):
    """The tool did not do its work. The message is for the model, which may speak about it: no internals."""


class CallReach(Struct, frozen=True, kw_only=True):
    """What tools may reach of their call.

    ``speech_heard`` returns when the caller has heard all that the agent is saying. ``play`` has sound (mono s16le at
    8 kHz) played behind that. ``end`` ends the conversation, and with it the call. ``egress`` is open for as long as
    the conversation runs. ``signing_secrets`` sign requests to the user's server (Standard Webhooks).
    """

    call_id: CallId
    speech_heard: Callable[[], Awaitable[None]]
    play: Callable[[bytes], Awaitable[None]]
    end: Callable[[EndedReason], None]
    egress: EgressClient
    signing_secrets: tuple[str, ...]


class Invocation(Struct, frozen=True, kw_only=True):
    """One use of a tool by the model. ``arguments`` fit the tool's schema."""

    tool_call_id: str
    arguments: dict[str, Any]
    reach: CallReach


class ToolModule(Protocol):
    """The shape of ``tools/<kind>.py``; ``tool`` is the agent's definition, of the struct with that kind's tag.

    ``ENDS_REPLY``: the model is not asked to go on after the tool's answer.
    """

    ENDS_REPLY: bool

    def parameters(self, tool: Any) -> dict[str, Any]:
        """JSON Schema of the arguments: an object."""
        ...

    async def run(self, tool: Any, invocation: Invocation) -> Any:
        """The answer for the model, JSON data. Raises `ToolFailed`. Cancelled when the caller interrupts."""
        ...


def load(tool: Tool) -> ToolModule:
    """The file of this tool's kind."""
    return cast(ToolModule, import_module(f"turncall_media.tools.{tool.__struct_config__.tag}"))
