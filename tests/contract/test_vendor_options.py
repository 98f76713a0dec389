"""The published schema of every vendor's options accepts what the vendor itself accepts, and nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, TypeChecker
from jsonschema.validators import extend

from turncall_media import registry
from turncall_proto.publish import SCHEMA_FOLDER, written

PUBLISHED: dict[str, Any] = json.loads((SCHEMA_FOLDER / "vendors.json").read_bytes())
EVERY = [(kind, vendor) for kind, vendors in sorted(registry.catalogue().items()) for vendor in vendors]


def _is_integer(_: TypeChecker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# As control does: JSON Schema takes 1.0 for an integer, the vendors' structs do not.
STRICT: Any = extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -1.5, 1e9]),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
)


def near(schema: dict[str, Any], defs: dict[str, Any], strays: bool) -> st.SearchStrategy[Any]:
    """Values that a schema accepts; with ``strays`` mixed with some that lie just beyond what it accepts."""
    if "$ref" in schema:
        return near(defs[schema["$ref"].rpartition("/")[2]], defs, strays)
    if "anyOf" in schema:
        return st.one_of(*(near(option, defs, strays) for option in schema["anyOf"]))
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), *([st.just("nothing of the list")] if strays else []))
    match schema.get("type"):
        case "object":
            return _objects(schema, defs, strays)
        case "array":
            least, most = schema.get("minItems", 0), schema.get("maxItems", 3)
            lists = st.lists(near(schema["items"], defs, strays), min_size=least, max_size=min(most, least + 1))
            return st.one_of(lists, st.just([])) if strays else lists
        case "string":
            return _strings(schema, strays)
        case "integer" | "number" as kind:
            return _numbers(schema, kind, strays)
        case _:
            return JUNK if strays else st.just(None if schema.get("type") == "null" else True)


def _numbers(schema: dict[str, Any], kind: str, strays: bool) -> st.SearchStrategy[Any]:
    edges = [schema[edge] for edge in ("minimum", "maximum") if edge in schema] or [1]
    beyond = [edge + step for edge in edges for step in (-1, 1)] + [float(edge) for edge in edges] + [1.5]
    within = [float(edge) for edge in edges] if kind == "number" else []
    return st.sampled_from([*edges, *within, *(beyond if strays else [])])


def _strings(schema: dict[str, Any], strays: bool) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 20)
    if not strays:
        return st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.just("x" * max(least, 1))
    plain = [st.just("x" * most), st.just("x" * (most + 1)), st.just(""), st.text(max_size=5)]
    return st.one_of(*plain, *([st.from_regex(schema["pattern"])] if "pattern" in schema else []))


@st.composite
def _objects(draw: st.DrawFn, schema: dict[str, Any], defs: dict[str, Any], strays: bool) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    made: dict[str, Any] = {}
    for name, of in schema.get("properties", {}).items():
        if draw(st.integers(0, 9)) < ((9 if strays else 10) if name in required else 3):
            made[name] = draw(JUNK if strays and draw(st.integers(0, 19)) == 0 else near(of, defs, strays))
    if isinstance(schema.get("additionalProperties"), dict):
        made |= draw(
            st.dictionaries(st.text(max_size=3), near(schema["additionalProperties"], defs, strays), max_size=2)
        )
    if strays and draw(st.integers(0, 19)) == 0:
        made["no_such_option"] = draw(JUNK)
    return made


@st.composite
def nearly(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """Options for one vendor: as many right ones as doubtful ones, and right ones with one field gone astray."""
    defs = schema.get("$defs", {})
    options = draw(near(schema, defs, draw(st.booleans())))
    if draw(st.integers(0, 3)) == 0:
        _stray(draw, options)
    return json.loads(json.dumps(options))


def _stray(draw: st.DrawFn, node: Any) -> None:
    """Replaces one value, at any depth."""
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    if not keys:
        return
    key = draw(st.sampled_from(keys))
    if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
        _stray(draw, node[key])
    else:
        node[key] = draw(JUNK)


def test_published_vendors_are_current() -> None:
    """`make schema` was run after a vendor changed."""
    assert (SCHEMA_FOLDER / "vendors.json").read_text() == written(registry.vendors_schema())


@pytest.mark.parametrize(("kind", "vendor"), EVERY)
def test_schema_stands_by_itself_and_is_closed(kind: str, vendor: str) -> None:
    """A plain JSON Schema library can use it, and no object in it takes fields that change nothing."""
    schema = PUBLISHED[kind][vendor]["options"]
    Draft202012Validator.check_schema(schema)
    structs = [schema, *schema.get("$defs", {}).values()]
    assert [one.get("title") for one in structs if one.get("additionalProperties") is not False] == []
    assert set(_references(schema)) <= {f"#/$defs/{name}" for name in schema.get("$defs", {})}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize(("kind", "vendor"), EVERY)
def test_schema_and_vendor_accept_the_same(kind: Any, vendor: str) -> None:
    """Control never publishes what a worker refuses, nor refuses what a worker takes."""
    schema = PUBLISHED[kind][vendor]["options"]
    seen = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, database=None)
    @given(nearly(schema))
    def compare(options: Any) -> None:
        try:
            msgspec.convert(options, registry.load(kind, vendor).Options)
            is_taken = True
        except msgspec.ValidationError:
            is_taken = False
        assert STRICT(schema).is_valid(options) is is_taken, options
        seen[is_taken] += 1

    compare()
    assert min(seen.values()) > 10, seen
