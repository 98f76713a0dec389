"""``compose.yaml`` as Docker reads it: merged, and with its variables put in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from msgspec import Struct, convert

_VARIABLE: Final = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<rule>[-?])(?P<word>[^}]*))?\})")


class VariableMissing(Exception):
    """A variable that the file insists on is unset or empty."""


class Service(Struct, frozen=True, kw_only=True):
    """What one service is told: its variables, the arguments after its image's entry point, what is mounted where."""

    environment: dict[str, str] = {}
    command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def services(file: Path, values: Mapping[str, str]) -> dict[str, Service]:
    """Every service of a compose file by its name. Raises `VariableMissing`."""
    return convert(interpolated(yaml.safe_load(file.read_text()), values)["services"], dict[str, Service])


def interpolated(document: Any, values: Mapping[str, str]) -> Any:
    """A document with ``values`` in the place of ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?}``.

    https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md. Raises `VariableMissing`.
    """
    if isinstance(document, dict):
        return {key: interpolated(value, values) for key, value in document.items()}
    if isinstance(document, list):
        return [interpolated(value, values) for value in document]
    if isinstance(document, str):
        return _VARIABLE.sub(lambda found: _value(found, values), document)
    return document


def asked_for(file: Path) -> dict[str, bool]:
    """The variables that a compose file names, and whether it insists on them."""
    found = [match for match in _VARIABLE.finditer(file.read_text()) if match["name"]]
    return {
        name: any(match["rule"] == "?" for match in found if match["name"] == name)
        for name in sorted({match["name"] for match in found})
    }


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = values.get(found["name"], "")
    if not value and found["rule"] == "?":
        raise VariableMissing(found["name"])
    return value or (found["word"] or "" if found["rule"] == "-" else "")
