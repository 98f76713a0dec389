"""A field that is accepted and changes nothing is a defect: each one names the test that fails when it is ignored.

The fields are read from the structs, so a new one is missed at once. A test claims a field with
``@pytest.mark.proves("agent.prompt")``; claims are read from the sources, so that this costs no test run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from turncall_control.settings import ProjectSettings
from turncall_proto.agent import AgentSpec

TESTS = Path(__file__).parents[1]


def fields(kind: type[msgspec.Struct], at: str) -> Iterator[str]:
    """The path of every field that is no struct itself; a member of a union adds its tag."""
    for name, hint in get_type_hints(kind).items():
        if name.startswith("__"):
            continue
        inner = list(structs(hint))
        for struct in inner:
            tag = struct.__struct_config__.tag
            yield from fields(struct, f"{at}.{name}{f'.{tag}' if tag else ''}")
        if not inner:
            yield f"{at}.{name}"


def structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs that a field may hold, inside containers too."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    elif get_origin(hint) in (Union, UnionType, Annotated, tuple, list, dict):
        for part in get_args(hint):
            yield from structs(part)


def claims() -> dict[str, str]:
    """Every claimed field, with a test that claims it."""
    found: dict[str, str] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found |= dict.fromkeys(_claimed(node), f"{path.relative_to(TESTS)}::{node.name}")
    return found


def _claimed(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.proves":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


FIELDS = [*fields(AgentSpec, "agent"), *fields(ProjectSettings, "settings")]
CLAIMS = claims()


def test_the_list_of_fields_reaches_every_depth() -> None:
    """Unions, tuples and nested structs are walked, so the list below misses nothing."""
    assert {"agent.prompt", "agent.turn_taking.barge_in", "agent.tools.webhook.url"} <= set(FIELDS)
    assert "agent.pipeline.cascade.stt.vendor" in FIELDS


@pytest.mark.parametrize("field", FIELDS)
def test_a_test_fails_when_the_field_is_ignored(field: str) -> None:
    """Some test of behaviour claims the field."""
    assert field in CLAIMS, f"mark the test that fails when {field} is ignored: @pytest.mark.proves({field!r})"


def test_no_claim_outlives_its_field() -> None:
    """A claim about a field that is gone, or misspelt, is an error."""
    assert not {field: test for field, test in CLAIMS.items() if field not in FIELDS}
