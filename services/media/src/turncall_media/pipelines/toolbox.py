"""An agent's tools as functions that Pipecat's models can call. Whatever goes wrong becomes an answer, not an error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from msgspec import Struct
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams, LLMService
from referencing import Registry
from referencing.exceptions import Unresolvable

from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import INTERRUPTED
from turncall_media.report.events import Narrator
from turncall_media.tools.shape import CallReach, Invocation, ToolFailed, ToolModule, load
from turncall_proto.agent import Tool, WebhookTool
from turncall_runtime import logs

LARGEST_ARGUMENTS_CHARACTERS: Final = 16_000
FILLER_AFTER_S: Final = 0.5
"""Most functions have answered by then, and a caller has not begun to wonder."""
_NOTHING_REMOTE: Final = Registry[Any]()
"""A ``$ref`` to a URL would otherwise be fetched, past the egress wall."""
_BROKEN: Final = "The function failed."
WARNINGS: Final = 2
"""How often a model is told that it has used enough tools, before it is not asked any more."""
_ENOUGH: Final = "Not done: too many functions were used for this. Answer with what you know, and ask the caller."
_log = logs.logger(__name__)


class Allowance:
    """How many tools the model may use in one turn, ``most``; and how often it was told that they were enough."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turn = -1
        self._used = 0

    def take(self, turn: int) -> int:
        """By how many the turn has more than it may, with this one."""
        if turn != self._turn:
            self._turn, self._used = turn, 0
        self._used += 1
        return max(0, self._used - self._most)


class Shared(Struct, frozen=True, kw_only=True):
    """What all tools of one call have in common. ``is_over``: the conversation has ended, or goes on elsewhere.

    ``way_out`` is said in place of a model that goes on asking for more than its allowance.
    """

    reach: CallReach
    narrator: Narrator
    speech: Speech
    allowance: Allowance
    is_over: Callable[[], bool]
    way_out: str


def schemas(tools: tuple[Tool, ...]) -> ToolsSchema:
    """One function for each tool, as the model gets to know it."""
    return ToolsSchema(standard_tools=[WholeSchema(tool, load(tool).parameters(tool)) for tool in tools])


def register(tools: tuple[Tool, ...], llm: LLMService[Any], shared: Shared) -> None:
    """Has ``llm`` run the tools, until the conversation is over: what the model still asks for while the pipeline
    comes to its end is another worker's to do, or nobody's.

    Not left to the schemas, which Pipecat looks at only when the model is first asked: a call that is gone on with may
    begin with a tool.
    """
    for tool in tools:
        is_cancelled = tool.name not in surviving(tools)
        llm.register_function(tool.name, _handler(tool, shared), cancel_on_interruption=is_cancelled)


def surviving(tools: tuple[Tool, ...]) -> frozenset[str]:
    """The names of those that an interruption does not cancel."""
    return frozenset(tool.name for tool in tools if isinstance(tool, WebhookTool) and tool.execution == "async")


def end_replies(tools: tuple[Tool, ...]) -> frozenset[str]:
    """The names of those after whose answer the model is not asked to go on."""
    return frozenset(tool.name for tool in tools if load(tool).ENDS_REPLY)


class WholeSchema(FunctionSchema):
    """Pipecat's function, with everything that the user's JSON Schema says (``$defs``, ``additionalProperties``…)."""

    def __init__(self, tool: Tool, parameters: dict[str, Any]) -> None:
        super().__init__(
            name=tool.name,
            description=tool.description,
            properties=parameters.get("properties", {}),
            required=parameters.get("required", []),
        )
        self._parameters = parameters

    def to_default_dict(self) -> dict[str, Any]:
        """Name, description and parameters, as models take them."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {"type": "object", "properties": {}, "required": [], **self._parameters},
        }


def _handler(tool: Tool, shared: Shared) -> Callable[[FunctionCallParams], Awaitable[None]]:
    narrator, speech = shared.narrator, shared.speech
    module = load(tool)
    parameters = module.parameters(tool)

    async def handle(params: FunctionCallParams) -> None:
        if shared.is_over():
            return
        arguments = dict(params.arguments)
        invocation = Invocation(tool_call_id=params.tool_call_id, arguments=arguments, reach=shared.reach)
        clock = asyncio.get_running_loop().time
        began_s, is_ok = clock(), False
        output: Any = INTERRUPTED
        excess = shared.allowance.take(narrator.turn)
        narrator.tool_called(params.tool_call_id, tool.name, arguments)
        try:
            if excess:
                output = {"error": _ENOUGH}
            else:
                async with _filled(tool, speech):
                    is_ok, output = await _answer(tool, module, parameters, invocation)
        finally:
            narrator.tool_returned(params.tool_call_id, tool.name, output, clock() - began_s, is_ok=is_ok)
        if excess == WARNINGS + 1:
            await speech.say(shared.way_out, is_kept=True)
        goes_on = excess <= WARNINGS and not (is_ok and module.ENDS_REPLY)
        result = output or {"result": output}  # Pipecat does not go on after an empty one
        await params.result_callback(result, properties=FunctionCallResultProperties(run_llm=goes_on))

    return handle


@asynccontextmanager
async def _filled(tool: Tool, speech: Speech) -> AsyncIterator[None]:
    """Has the tool's filler said when what is done inside takes its time."""
    if not isinstance(tool, WebhookTool) or not tool.filler:
        yield
        return
    filling = asyncio.create_task(_fill(tool.filler, speech))
    try:
        yield
    finally:
        filling.cancel()
        await asyncio.wait({filling})


async def _fill(filler: str, speech: Speech) -> None:
    await asyncio.sleep(FILLER_AFTER_S)
    if not speech.has_model_spoken:
        await speech.say(filler, is_kept=False)


async def _answer(
    tool: Tool, module: ToolModule, parameters: dict[str, Any], invocation: Invocation
) -> tuple[bool, Any]:
    """Whether it worked, and the answer or the reason, for the model."""
    try:
        check(parameters, invocation.arguments)
        return True, await module.run(tool, invocation)
    except ToolFailed as failure:
        return False, {"error": str(failure)}
    except Exception:  # noqa: BLE001 - the boundary of one tool: the conversation goes on
        _log.exception("tool.broke", tool=tool.name)
        return False, {"error": _BROKEN}


def check(parameters: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Raises `ToolFailed` with what is wrong with ``arguments``, so that the model can call again."""
    if len(repr(arguments)) > LARGEST_ARGUMENTS_CHARACTERS:
        raise ToolFailed("The arguments are too long.")
    try:
        Draft202012Validator.check_schema(parameters)
        Draft202012Validator(parameters, registry=_NOTHING_REMOTE).validate(arguments)
    except (SchemaError, Unresolvable) as error:
        raise ToolFailed("This function is not set up: its parameters are no JSON Schema.") from error
    except ValidationError as error:
        where = ".".join(str(step) for step in error.absolute_path)
        raise ToolFailed(f"The arguments do not fit: {where + ': ' if where else ''}{error.message[:300]}") from error
