"""Whether an agent's definition can run: its vendors, their options, its tools."""

from collections.abc import Iterator
from typing import Any, Final
from zoneinfo import available_timezones

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from turncall_control.errors import Fault, Invalid
from turncall_control.vendors import catalogue
from turncall_control.vendors.catalogue import Catalogue, described
from turncall_proto import template
from turncall_proto.agent import AgentSpec, SpeechToSpeech, WebhookTool

ROOT: Final = "config"
LARGEST_BYTES: Final = 160 * 1024
"""Of a definition as JSON: with what a call adds it stays within the 256 KiB that the bus carries."""


def check(vendors: Catalogue, spec: AgentSpec) -> None:
    """Returns when ``spec`` can run. Raises `Invalid` with every fault, by its path in the request."""
    found = [
        *catalogue.faults(vendors, spec, ROOT),
        *_speech_faults(spec),
        *_tool_faults(spec),
        *_analysis_faults(spec),
        *_text_faults(spec),
    ]
    if found:
        raise Invalid(faults=found)


def _speech_faults(spec: AgentSpec) -> Iterator[Fault]:
    """What is a cascade's alone: a model that hears and speaks by itself cannot be told so."""
    if not isinstance(spec.pipeline, SpeechToSpeech):
        return
    for is_asked, field, why in (
        (bool(spec.pronunciations), "pronunciations", "A speech model is given no text to read"),
        (bool(spec.keyterms), "keyterms", "A speech model hears without a transcription"),
        (spec.turn_taking.min_words > 0, "turn_taking.min_words", "Words of a turn are known only behind it"),
    ):
        if is_asked:
            yield Fault(field=f"{ROOT}.{field}", message=f"{why}: only a cascade has this")
    if spec.analysis is not None and spec.analysis.model is None:
        yield Fault(field=f"{ROOT}.analysis.model", message="The agent has no language model of its own: name one")


def _text_faults(spec: AgentSpec) -> Iterator[Fault]:
    if spec.timezone not in available_timezones():
        yield Fault(field=f"{ROOT}.timezone", message="There is no such time zone; name one like Europe/Berlin")
    for text in template.texts(spec):
        for name in template.names(text.text):
            if not template.is_known(name, text):
                known = (*template.BUILT_IN, *((template.KEYS,) if text.is_bound else ()))
                yield Fault(
                    field=f"{ROOT}.{text.path}", message=f"There is no {{{{{name}}}}}; built in are {', '.join(known)}"
                )
    if (size_bytes := len(msgspec.json.encode(spec))) > LARGEST_BYTES:
        yield Fault(
            field=ROOT, message=f"It has {size_bytes} bytes; {LARGEST_BYTES} are the most that a call can carry"
        )


def _tool_faults(spec: AgentSpec) -> Iterator[Fault]:
    for index, tool in enumerate(spec.tools):
        if isinstance(tool, WebhookTool):
            yield from object_faults(tool.parameters, f"{ROOT}.tools[{index}].parameters")
            yield from _bound_faults(tool, f"{ROOT}.tools[{index}].bound")


def _analysis_faults(spec: AgentSpec) -> Iterator[Fault]:
    if spec.analysis is not None and spec.analysis.extract is not None:
        yield from object_faults(spec.analysis.extract, f"{ROOT}.analysis.extract")


def _bound_faults(tool: WebhookTool, at: str) -> Iterator[Fault]:
    """What is bound is an argument of the tool, and takes text."""
    properties = tool.parameters.get("properties", {})
    for name in tool.bound:
        if not isinstance(properties, dict) or name not in properties:
            yield Fault(field=f"{at}.{name}", message="The parameters have no property of this name")
        elif not _takes_text(properties[name]):
            yield Fault(field=f"{at}.{name}", message='It is text: the property\'s type must be "string"')


def _takes_text(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type", "string") == "string"


def object_faults(schema: dict[str, Any], at: str) -> Iterator[Fault]:
    """A tool's arguments, or what is taken out of a conversation, are one object, by a schema that stands on its own:
    what is wrong with it, by paths that begin with ``at``."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        yield from described(error, at)
        return
    if schema.get("type") != "object":
        yield Fault(field=f"{at}.type", message='It describes an object: it must be "object"')
    yield from _remote_references(schema, at)


def _remote_references(schema: object, at: str) -> Iterator[Fault]:
    if isinstance(schema, dict):
        for name, part in schema.items():
            if name in ("$ref", "$dynamicRef") and isinstance(part, str) and not part.startswith("#"):
                yield Fault(field=f"{at}.{name}", message="Only references within the schema itself are followed")
            yield from _remote_references(part, f"{at}.{name}")
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from _remote_references(part, f"{at}[{index}]")
