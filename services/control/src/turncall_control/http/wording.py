"""What is wrong with a field, in words that help to mend it: what may stand there, what was probably meant."""

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from msgspec import inspect

MOST_NAMED: Final = 30
"""Names that one sentence lists."""

_STEP = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_]*)|\[[^\]]*\]")
_UNKNOWN = re.compile(r"contains unknown field `(?P<name>[^`]+)`")


def helpful(said: str, path: str, kind: Any) -> str:
    """What msgspec ``said`` about the place at ``path`` (``.a.b[0]``) of a body of this ``kind``, in better words."""
    if (unknown := _UNKNOWN.search(said)) is not None:
        return no_such("field", unknown["name"], _fields(_at(kind, path)))
    if said.startswith("Invalid enum value") and (values := _values(_at(kind, path))):
        return one_of(values)
    if said.startswith("Invalid value") and (tags := _tags(_at(kind, path.rpartition(".")[0]))):
        return one_of(tags)
    if "matching regex" in said and (hint := _hint(_at(kind, path))):
        return f"It has not the form that is needed: {hint}"
    return said


def no_such(what: str, name: str, known: Collection[str]) -> str:
    """That there is no ``what`` of this ``name``, and which one was probably meant."""
    likely = get_close_matches(name, known, n=1)
    if likely:
        return f"There is no such {what}; did you mean {likely[0]}?"
    if 0 < len(known) <= MOST_NAMED:
        return f"There is no such {what}; there are {', '.join(sorted(known))}"
    return f"There is no such {what}"


def one_of(values: Collection[str]) -> str:
    """What may stand there."""
    return f"It is one of {', '.join(values)}"


@lru_cache(maxsize=256)
def _described(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _at(kind: Any, path: str) -> list[inspect.Type]:
    """The types that may stand at a path: several within unions."""
    found = list(_apart(_described(kind)))
    for step in _STEP.finditer(path):
        found = [part for one in found for inner in _within(one, step[1]) for part in _apart(inner)]
    return found


def _within(one: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    """What is in a type under a field's name, or as an item when there is none."""
    bare = _bare(one)
    if isinstance(bare, inspect.StructType):
        yield from (field.type for field in bare.fields if field.encode_name == name)
    elif isinstance(bare, inspect.DictType):
        yield bare.value_type
    elif name is None and isinstance(bare, inspect.ListType | inspect.VarTupleType):
        yield bare.item_type


def _apart(one: inspect.Type) -> Iterator[inspect.Type]:
    """The members of a union, each with what the whole is described by; anything else as it is."""
    bare = _bare(one)
    if not isinstance(bare, inspect.UnionType):
        yield one
        return
    for part in (inner for member in bare.types for inner in _apart(member)):
        if isinstance(one, inspect.Metadata) and not isinstance(part, inspect.Metadata):
            yield inspect.Metadata(part, one.extra_json_schema)
        else:
            yield part


def _bare(one: inspect.Type) -> inspect.Type:
    return _bare(one.type) if isinstance(one, inspect.Metadata) else one


def _fields(types: list[inspect.Type]) -> list[str]:
    structs = [bare for one in types if isinstance(bare := _bare(one), inspect.StructType)]
    return [field.encode_name for struct in structs for field in struct.fields]


def _tags(types: list[inspect.Type]) -> list[str]:
    structs = [bare for one in types if isinstance(bare := _bare(one), inspect.StructType)]
    return sorted({str(struct.tag) for struct in structs if struct.tag})


def _values(types: list[inspect.Type]) -> list[str]:
    values: set[str] = set()
    for one in types:
        match _bare(one):
            case inspect.LiteralType(values=allowed):
                values.update(map(str, allowed))
            case inspect.EnumType(cls=cls):
                values.update(str(member.value) for member in cls)
    return sorted(values)


def _hint(types: list[inspect.Type]) -> str:
    """What the place is for, or an example, as the reference has it."""
    for one in types:
        told = (one.extra_json_schema or {}) if isinstance(one, inspect.Metadata) else {}
        if examples := told.get("examples"):
            return f"{told['description']} Such as {examples[0]}" if "description" in told else f"such as {examples[0]}"
        if description := told.get("description"):
            return str(description)
    return ""
