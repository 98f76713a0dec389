"""An example of every shape in the API reference, made from its schema: complete, valid, the same each time."""

import re
from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

MOMENT: Final = "2026-11-29T09:30:00Z"
_HEX: Final = "0198c5f2a1b37c4e9d0f6a2b8e4c1d75"
_FORMATS: Final = {"date-time": MOMENT, "uuid": "0198c5f2-a1b3-7c4e-9d0f-6a2b8e4c1d75", "date": "2026-11-29"}
_WORDS: Final = {
    "name": "Reception",
    "text": "Hello, how can I help?",
    "prompt": "You answer the phone of a bakery. Be brief.",
    "first_message": "Good morning, how can I help you?",
    "description": "Opening hours of the shop.",
    "e164": "+14155550100",
    "number": "+14155550100",
    "from_number": "+14155550111",
    "to_number": "+14155550100",
    "url": "https://example.com/turncall",
    "language": "en-US",
    "timezone": "Europe/Berlin",
    "vendor": "local",
    "carrier": "twilio",
    "provider": "twilio",
    "currency": "USD",
    "address": "203.0.113.7",
    "request_id": "0198c5f2a1b37c4e9d0f6a2b8e4c1d75",
    "secret": "shown-once",
    "provider_call_id": "CA" + _HEX,
    "carrier_sid": "PN" + _HEX,
    "variant": "brisk",
    "why": "",
    "detail": "",
}
"""What stands in a field of this name, where its own schema has no better idea."""
_ID: Final = re.compile(
    r"(?:^|_)(agent|base|call|credential|delivery|document|job|key|message|number|project|run|session|suite|takeaway|trial"
    r"|version|webhook|worker)_id$"
)
_PREFIXES: Final = {
    "agent": "agt",
    "base": "kb",
    "document": "doc",
    "knowledgebase": "kb",
    "call": "call",
    "message": "msg",
    "session": "ses",
    "takeaway": "tkw",
    "job": "job",
    "credential": "crd",
    "delivery": "dlv",
    "donotcall": "dnc",
    "key": "key",
    "number": "num",
    "project": "prj",
    "run": "run",
    "suite": "tst",
    "trial": "trl",
    "version": "ver",
    "webhook": "whk",
    "worker": "wrk",
}
_PATTERN_OF_ID: Final = re.compile(r"^\^([a-z]+)_\[0-9a-f\]\{32\}\$(?:\(\?!\\n\))?$")
_LIKELY: Final = (
    "shop_hours",
    "Shop",
    "A1b2",
    "en-US",
    "+14155550100",
    "https://example.com/turncall",
    "#",
    "17",
    "AC" + _HEX,
    "09:00",
    "US",
)
"""Texts, one of which fits the pattern of most fields."""


class NoExample(Exception):
    """A schema for which none of our texts fits: give the field ``Meta(examples=[…])``."""


class Examples:
    """Makes examples of schemas that refer to ``components``."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def of(self, schema: Schema, name: str = "", within: tuple[str, ...] = ()) -> Any:
        """A valid instance; ``name`` is that of the field it is for. Raises `NoExample`."""
        if "$ref" in schema:
            return self._of_component(schema["$ref"].rsplit("/", 1)[-1], name, within)
        for known in ("examples", "enum"):
            if schema.get(known):
                return schema[known][0]
        if "const" in schema:
            return schema["const"]
        if schema.get("default") not in (None, "", [], {}):
            return schema["default"]
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return self._of_union(schema[union], name, within)
        return self._of_type(schema, name, within)

    def _of_component(self, component: str, name: str, within: tuple[str, ...]) -> Any:
        if component in within:
            return None
        return self.of(self._components[component], name, (*within, component))

    def _of_union(self, members: list[Schema], name: str, within: tuple[str, ...]) -> Any:
        """The first member that is no null, and that we are not in the middle of."""
        some = [member for member in members if member.get("type") != "null"]
        return self.of(some[0], name, within)

    def _of_type(self, schema: Schema, name: str, within: tuple[str, ...]) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "")
        match kind[0] if isinstance(kind, list) else kind:
            case "object":
                return self._object(schema, within)
            case "array":
                return self._array(schema, name, within)
            case "string":
                return _text(schema, name, within[-1] if within else "")
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case _:
                return None

    def _object(self, schema: Schema, within: tuple[str, ...]) -> dict[str, Any]:
        return {
            name: self.of(part, name, within)
            for name, part in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or "default" not in part
        }

    def _array(self, schema: Schema, name: str, within: tuple[str, ...]) -> list[Any]:
        items = schema.get("items") or {}
        least = schema.get("minItems", 1)
        if schema.get("maxItems") == 0 or items.get("$ref", "").rsplit("/", 1)[-1] in within:
            return []
        return [self.of(items, name.removesuffix("s"), within)] * max(1, least)


def id_of(kind: str) -> str:
    """An id of a kind, by its prefix: ``agt_…``."""
    return f"{kind}_{_HEX}"


def _text(schema: Schema, name: str, within: str) -> str:
    pattern = schema.get("pattern", "")
    if found := _PATTERN_OF_ID.match(pattern):
        return id_of(found[1])
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if name == "id" and not pattern:
        return id_of(next((prefix for kind, prefix in _PREFIXES.items() if within.startswith(kind.title())), "id"))
    if not pattern and (named := _ID.search(name)):
        return id_of(_PREFIXES[named[1]])
    own = [_WORDS[name]] if name in _WORDS else []
    texts = [*own, *([] if pattern else [name or "text"]), *_LIKELY]
    for text in texts:
        fits = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
        if fits and re.search(pattern, text):
            return text
    raise NoExample(f"{name or 'a text'} of the pattern {pattern}")


def _number(schema: Schema) -> int | float:
    least: int | float = schema.get("minimum", 1)
    if "exclusiveMinimum" in schema:
        least = (schema["exclusiveMinimum"] + schema.get("exclusiveMaximum", schema.get("maximum", 1))) / 2
    most: int | float = schema.get("maximum", least)
    return max(least, 1) if max(least, 1) <= max(most, least) else least
