"""A model asked for JSON: its answer is checked against a schema before it counts, and shown to it when it fails."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry

from turncall_media.text.tally import Tally
from turncall_media.text.thinking import Model, ModelFailed, think

THINK_WITHIN_S: Final = 120.0
TRIES: Final = 3
"""How often a model may answer with something else than what was asked for."""
_NOTHING_REMOTE: Final = Registry[Any]()
"""A ``$ref`` to a URL would otherwise be fetched, past the egress wall."""


async def filled_in(
    models: Sequence[Model], messages: list[dict[str, Any]], schema: Mapping[str, Any], tally: Tally
) -> dict[str, Any]:
    """The first answer of the models, asked in turn, that fits the schema. Raises `ModelFailed` when there is none:
    the failure that is final, if one is."""
    last: ModelFailed | None = None
    for model in models:
        try:
            return await _filled_in(model, messages, schema, tally)
        except ModelFailed as error:
            last = error if last is None or last.is_final else last
    assert last is not None  # somebody is asked
    raise last


async def _filled_in(
    model: Model, messages: list[dict[str, Any]], schema: Mapping[str, Any], tally: Tally
) -> dict[str, Any]:
    fault = ""
    for _ in range(TRIES):
        thought = await think(model, messages, THINK_WITHIN_S)
        tally.add(thought.used)
        found, fault = checked(thought.text, schema)
        if found is not None:
            return found
        messages = [
            *messages,
            {"role": "assistant", "content": thought.text},
            {"role": "user", "content": f"That does not fit: {fault} Answer with the JSON object alone."},
        ]
    raise ModelFailed(model.ref.vendor, f"answered {TRIES} times with what does not fit: {fault}", is_final=True)


def checked(text: str, schema: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The JSON object in a model's answer, also between fences, and what is wrong when it does not fit."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[begin : end + 1]) if begin >= 0 else None
    except ValueError as error:
        return None, f"it is no JSON: {error}."
    if not isinstance(found, dict):
        return None, "there is no JSON object."
    fault = best_match(Draft202012Validator(dict(schema), registry=_NOTHING_REMOTE).iter_errors(found))
    if fault is not None:
        return None, f"at {fault.json_path}: {fault.message}."
    return found, ""
