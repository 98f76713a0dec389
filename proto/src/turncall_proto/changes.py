"""What differs between two definitions of an agent, field by field. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from turncall_proto.agent import AgentSpec


class ConfigChange(Struct, frozen=True, kw_only=True):
    """One field that differs; a side that lacks it is null."""

    field: Annotated[str, Meta(description="Its path: pipeline.tts.options.voice, tools[0].url.")]
    before: Any
    after: Any


def changes(before: AgentSpec, after: AgentSpec) -> tuple[ConfigChange, ...]:
    """Every field that differs, defaults filled in on both sides, in the order of the paths."""
    old, new = (dict(_leaves(msgspec.to_builtins(spec), "")) for spec in (before, after))
    return tuple(
        ConfigChange(field=path, before=old.get(path), after=new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def _leaves(value: object, path: str) -> list[tuple[str, Any]]:
    """Scalars and empty containers by their path."""
    if isinstance(value, Mapping) and value:
        return [leaf for name, part in value.items() for leaf in _leaves(part, f"{path}.{name}" if path else str(name))]
    if isinstance(value, list | tuple) and value:
        return [leaf for index, part in enumerate(value) for leaf in _leaves(part, f"{path}[{index}]")]
    return [(path, value)]
