"""What a tool's file must define, and what a tool may reach: ``tools/<kind>.py``, found on disk, listed nowhere."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast

from msgspec import Struct
from msgspec.structs import replace

from turncall_egress import EgressClient
from turncall_proto.agent import Tool, WebhookTool
from turncall_proto.call import EndedReason
from turncall_proto.command import ActReply, TransferOrder
from turncall_proto.ids import AgentId, CallId


class ToolFailed(Exception):
    """The tool did not do its work. The message is for the model, which may speak about it: no internals."""


class CallReach(Struct, frozen=True, kw_only=True):
    """What tools may reach of their call.

    ``speech_heard`` returns when the caller has heard all that the agent is saying. ``play`` has sound (mono s16le at
    8 kHz) played behind that. ``end`` ends the conversation, and with it the call. ``hand_off`` gives it to another
    agent, for a reason, ``transfer`` to a person, by the tool of that name; both raise `ToolFailed`. So does
    ``send_link``, which sends the contact a text and a link to a page, once for a use of the tool. ``opt_out`` has the
    person never be called again, or says why not. ``pause_recording`` pauses (True) or resumes, and says if there is
    one.
    ``egress`` is open for as long as the conversation runs. ``signing_secrets`` sign requests to the user's server
    (Standard Webhooks); ``server_headers`` maps a host to the headers that the project keeps secret for it.
    """

    call_id: CallId
    speech_heard: Callable[[], Awaitable[None]]
    play: Callable[[bytes], Awaitable[None]]
    end: Callable[[EndedReason], None]
    hand_off: Callable[[AgentId, str], Awaitable[None]]
    pause_recording: Callable[[bool], bool]
    transfer: Callable[[TransferOrder, str], Awaitable[None]]
    send_link: Callable[[str, str, str], Awaitable[None]]
    opt_out: Callable[[], Awaitable[ActReply]]
    egress: EgressClient
    signing_secrets: tuple[str, ...]
    server_headers: Mapping[str, Mapping[str, str]]


class Invocation(Struct, frozen=True, kw_only=True):
    """One use of a tool by the model. ``arguments`` fit the tool's schema; those that are bound are among them."""

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


class Function(Struct, frozen=True, kw_only=True):
    """A tool of an agent, of whatever kind, as its model may use it.

    ``parameters`` is the JSON Schema of all arguments; the model does not see those of ``bound``, which are set here.
    ``ends_reply``: the model is not asked to go on after its answer. ``survives``: no interruption cancels it. A
    ``filler`` is said when it takes its time. ``is_repeatable``: to use it again under the same id does no harm.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[Invocation], Awaitable[Any]]
    bound: Mapping[str, str] = {}
    ends_reply: bool = False
    survives: bool = False
    filler: str = ""
    is_repeatable: bool = True

    @property
    def shown(self) -> dict[str, Any]:
        """The schema that the model gets to know."""
        schema = dict(self.parameters)
        if self.bound and "properties" in schema:
            schema["properties"] = {name: kind for name, kind in schema["properties"].items() if name not in self.bound}
        if self.bound and "required" in schema:
            schema["required"] = [name for name in schema["required"] if name not in self.bound]
        return schema


def function(tool: Tool) -> Function:
    """What the agent's definition of a tool means for its model."""
    module = load(tool)
    made = Function(
        name=tool.name,
        description=tool.description,
        parameters=module.parameters(tool),
        run=partial(module.run, tool),
        ends_reply=module.ENDS_REPLY,
    )
    if not isinstance(tool, WebhookTool):
        return made
    return replace(made, bound=tool.bound, survives=tool.execution == "async", filler=tool.filler)
