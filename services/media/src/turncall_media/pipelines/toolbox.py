"""An agent's tools as functions that Pipecat's models can call. Whatever goes wrong becomes an answer, not an error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from msgspec import Struct, field
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams, LLMService
from referencing import Registry
from referencing.exceptions import Unresolvable

from turncall_media.pipelines.keypad import STAR, Entry
from turncall_media.pipelines.story import INTERRUPTED
from turncall_media.tools.shape import CallReach, Function, Invocation, ToolFailed
from turncall_proto.events import LeftOut
from turncall_proto.template import with_keys
from turncall_runtime import logs

LARGEST_ARGUMENTS_CHARACTERS: Final = 16_000
FILLER_AFTER_S: Final = 0.5
"""Most functions have answered by then, and a caller has not begun to wonder."""
_NOTHING_REMOTE: Final = Registry[Any]()
"""A ``$ref`` to a URL would otherwise be fetched, past the egress wall."""
_BROKEN: Final = "The function failed."
_UNKNOWN_FATE: Final = (
    "It is not known whether this was done: the connection to it was lost meanwhile. It is not repeated."
)
_NO_SUCH: Final = "There is no such function."
_ANYTHING: Final[dict[str, Any]] = {"type": "object"}
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


class Scribe(Protocol):
    """Who writes down what tools did."""

    turn: int

    def tool_called(
        self, tool_call_id: str, tool: str, arguments: dict[str, Any], bound: Mapping[str, str]
    ) -> None: ...

    def tool_returned(self, tool_call_id: str, tool: str, output: Any, latency_s: float, *, is_ok: bool) -> None: ...

    def tools_discovered(
        self, server: str, tools: tuple[str, ...], left_out: tuple[LeftOut, ...], took_s: float, why: str
    ) -> None: ...


class Voice(Protocol):
    """Who says what the model does not."""

    @property
    def has_model_spoken(self) -> bool: ...

    async def say(self, text: str, *, is_kept: bool) -> None: ...


class Shared(Struct, frozen=True, kw_only=True):
    """What all tools of one call have in common. ``is_over``: the conversation has ended, or goes on elsewhere.

    ``repeated`` are the uses of tools that an earlier worker of the call began and nobody saw the end of.
    ``way_out`` is said in place of a model that goes on asking for more than its allowance. ``entry`` is what the
    caller has entered by keypad.
    """

    reach: CallReach
    narrator: Scribe
    speech: Voice
    allowance: Allowance
    is_over: Callable[[], bool]
    repeated: frozenset[str]
    way_out: str
    entry: Entry = field(default_factory=Entry)


def schemas(functions: Iterable[Function]) -> ToolsSchema:
    """The functions as the model gets to know them."""
    return ToolsSchema(standard_tools=[WholeSchema(function) for function in functions])


def register(functions: Iterable[Function], llm: LLMService[Any], shared: Shared) -> None:
    """Has ``llm`` run the functions, until the conversation is over: what the model still asks for while the pipeline
    comes to its end is another worker's to do, or nobody's. A function that there is not is an answer like any other.

    Not left to the schemas, which Pipecat looks at only when the model is first asked: a call that is gone on with may
    begin with a tool.
    """
    for function in functions:
        llm.register_function(function.name, _handler(function, shared), cancel_on_interruption=not function.survives)
    llm.register_function(None, _unknown(shared))


def surviving(functions: Iterable[Function]) -> frozenset[str]:
    """The names of those that an interruption does not cancel."""
    return frozenset(function.name for function in functions if function.survives)


def end_replies(functions: Iterable[Function]) -> frozenset[str]:
    """The names of those after whose answer the model is not asked to go on."""
    return frozenset(function.name for function in functions if function.ends_reply)


class WholeSchema(FunctionSchema):
    """Pipecat's function, with everything that the user's JSON Schema says (``$defs``, ``additionalProperties``…)."""

    def __init__(self, function: Function) -> None:
        parameters = function.shown
        super().__init__(
            name=function.name,
            description=function.description,
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


def _unknown(shared: Shared) -> Callable[[FunctionCallParams], Awaitable[None]]:
    """A model may ask for what it was never offered; it is told so, and the record shows it."""

    async def nothing(_: Invocation) -> Any:
        raise ToolFailed(_NO_SUCH)

    async def handle(params: FunctionCallParams) -> None:
        made_up = Function(name=params.function_name, description="", parameters=_ANYTHING, run=nothing)
        await _handler(made_up, shared)(params)

    return handle


def _handler(function: Function, shared: Shared) -> Callable[[FunctionCallParams], Awaitable[None]]:
    narrator, speech = shared.narrator, shared.speech

    async def handle(params: FunctionCallParams) -> None:
        if shared.is_over():
            return
        arguments = dict(params.arguments)
        clock = asyncio.get_running_loop().time
        began_s, is_ok = clock(), False
        output: Any = INTERRUPTED
        excess = shared.allowance.take(narrator.turn)
        narrator.tool_called(params.tool_call_id, function.name, arguments, function.bound)
        try:
            if excess:
                output = {"error": _ENOUGH}
            else:
                async with _filled(function, speech):
                    is_ok, output = await _answer(function, params.tool_call_id, arguments, shared)
        finally:
            narrator.tool_returned(params.tool_call_id, function.name, output, clock() - began_s, is_ok=is_ok)
        if excess == WARNINGS + 1:
            await speech.say(shared.way_out, is_kept=True)
        goes_on = excess <= WARNINGS and not (is_ok and function.ends_reply)
        result = output or {"result": output}  # Pipecat does not go on after an empty one
        await params.result_callback(result, properties=FunctionCallResultProperties(run_llm=goes_on))

    return handle


@asynccontextmanager
async def _filled(function: Function, speech: Voice) -> AsyncIterator[None]:
    """Has the function's filler said when what is done inside takes its time."""
    if not function.filler:
        yield
        return
    filling = asyncio.create_task(_fill(function.filler, speech))
    try:
        yield
    finally:
        filling.cancel()
        await asyncio.wait({filling})


async def _fill(filler: str, speech: Voice) -> None:
    await asyncio.sleep(FILLER_AFTER_S)
    if not speech.has_model_spoken:
        await speech.say(filler, is_kept=False)


async def _answer(function: Function, tool_call_id: str, arguments: dict[str, Any], shared: Shared) -> tuple[bool, Any]:
    """Whether it worked, and the answer or the reason, for the model."""
    try:
        if tool_call_id in shared.repeated and not function.is_repeatable:
            raise ToolFailed(_UNKNOWN_FATE)
        whole = checked(function, arguments, shared.entry.keys)
        return True, await function.run(Invocation(tool_call_id=tool_call_id, arguments=whole, reach=shared.reach))
    except ToolFailed as failure:
        return False, {"error": str(failure)}
    except Exception:  # noqa: BLE001 - the boundary of one tool: the conversation goes on
        _log.exception("tool.broke", tool=function.name)
        return False, {"error": _BROKEN}


def checked(function: Function, arguments: dict[str, Any], keys: str = "") -> dict[str, Any]:
    """All arguments of one use: the model's ``arguments`` and those that are bound, to the caller's ``keys`` too.

    Raises `ToolFailed` with what is wrong, so that the model can call again: also when it set what is bound, for then
    somebody has talked it into that.
    """
    strange = arguments.keys() - function.parameters.get("properties", {}).keys() if function.bound else ()
    for name in sorted(strange):  # whatever else the schema lets pass: a server may take Phone for phone
        raise ToolFailed(f"The arguments do not fit: there is no {name[:64]}.")
    bound = {name: with_keys(text, keys) for name, text in function.bound.items()}
    for name, text in bound.items():
        if name in arguments:
            raise ToolFailed(f"The arguments do not fit: {name} is not yours to set.")
        if not text:
            raise ToolFailed(f"This function cannot be used in this call: {name} is not known.")
    whole = arguments | bound
    try:
        check(function.parameters, whole)
    except ToolFailed as failure:
        # Whatever does not fit is shown to the model, and kept.
        raise ToolFailed(str(failure).replace(keys, STAR * len(keys)) if keys else str(failure)) from failure
    return whole


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
