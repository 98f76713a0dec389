"""An agent's tools as functions that Pipecat's models can call. Whatever goes wrong becomes an answer, not an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams, LLMService
from referencing import Registry
from referencing.exceptions import Unresolvable

from turncall_media.pipelines.story import INTERRUPTED
from turncall_media.report.events import Narrator
from turncall_media.tools.shape import CallReach, Invocation, ToolFailed, ToolModule, load
from turncall_proto.agent import Tool
from turncall_runtime import logs

LARGEST_ARGUMENTS_CHARACTERS: Final = 16_000
_NOTHING_REMOTE: Final = Registry[Any]()
"""A ``$ref`` to a URL would otherwise be fetched, past the egress wall."""
_BROKEN: Final = "The function failed."
_log = logs.logger(__name__)


def schemas(tools: tuple[Tool, ...]) -> ToolsSchema:
    """One function for each tool, as the model gets to know it."""
    return ToolsSchema(standard_tools=[WholeSchema(tool, load(tool).parameters(tool)) for tool in tools])


def register(
    tools: tuple[Tool, ...], llm: LLMService[Any], reach: CallReach, narrator: Narrator, is_over: Callable[[], bool]
) -> None:
    """Has ``llm`` run the tools, until the conversation ``is_over``: what the model still asks for while the pipeline
    comes to its end is another worker's to do, or nobody's.

    Not left to the schemas, which Pipecat looks at only when the model is first asked: a call that is gone on with may
    begin with a tool.
    """
    for tool in tools:
        llm.register_function(tool.name, _handler(tool, reach, narrator, is_over))


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


def _handler(
    tool: Tool, reach: CallReach, narrator: Narrator, is_over: Callable[[], bool]
) -> Callable[[FunctionCallParams], Awaitable[None]]:
    module = load(tool)
    parameters = module.parameters(tool)

    async def handle(params: FunctionCallParams) -> None:
        if is_over():
            return
        arguments = dict(params.arguments)
        invocation = Invocation(tool_call_id=params.tool_call_id, arguments=arguments, reach=reach)
        clock = asyncio.get_running_loop().time
        began_s, is_ok, output = clock(), False, INTERRUPTED
        narrator.tool_called(params.tool_call_id, tool.name, arguments)
        try:
            is_ok, output = await _answer(tool, module, parameters, invocation)
        finally:
            narrator.tool_returned(params.tool_call_id, tool.name, output, clock() - began_s, is_ok=is_ok)
        goes_on = not (is_ok and module.ENDS_REPLY)
        result = output or {"result": output}  # Pipecat does not go on after an empty one
        await params.result_callback(result, properties=FunctionCallResultProperties(run_llm=goes_on))

    return handle


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
