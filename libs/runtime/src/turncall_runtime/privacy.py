"""What must not leave the process in a log or a trace: personal fields, phone numbers, secrets."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from turncall_runtime.secret import Secret

HIDDEN: Final = "***"
NUMBER: Final = "<number>"

SECRET_FIELDS: Final = re.compile(
    r"(^|_)(authorization|password|passwd|secret|secrets|pepper|cookie|signature|(api|private|platform)_?key|auth_token"
    r"|access_token|token)$"
)
"""Names of fields whose values are hidden, in snake case and lower case."""

PERSONAL_FIELDS: Final = frozenset(
    {"phone", "phone_number", "from_number", "to_number", "caller", "callee", "digits", "email"}
    | {"text", "transcript", "utterance", "speech", "prompt", "answer", "body"}
    | {"arguments", "result", "variables"}
)
"""Names of fields that may hold what a person said, typed or is called."""

_RULES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Secrets that show themselves. Each rule begins with fixed characters where it can, which makes it quick.
        (r"(://)[^\s/@:]*:[^\s/@]+(?=@)", r"\1***"),  # user:password@ in a URL
        (r"\b([Bb]earer |[Bb]asic |BEARER |BASIC )[\w.~+/=-]{8,}", r"\1***"),
        (r"\b((?:tc|sk|pk|rk|whsec|xox[abp]|gh[pousr])[_-])[\w+/=-]{8,}", r"\1***"),  # keys that name themselves
        (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", "***"),  # a JSON web token
        (r"(?i)((?:token|secret|password|api_?key|signature|[?&]key)=)[^\s&\"']+", r"\1***"),
        (r"(/media/[\w-]+/\d+/)[\w-]{24,}", r"\1***"),  # the address of a call's media socket ends with its token
        # Phone numbers.
        (r"(?<![\w.])\+[1-9](?:[\s().-]{0,2}\d){6,14}(?!\d)", NUMBER),  # E.164, however it is grouped
        (r"(?<![\w.:-])\(\d{3}\)\s?\d{3}[\s.-]?\d{4}(?!\d)", NUMBER),  # (415) 555-0100
        (r"(?<![\w.:-])\d{3}[\s.-]\d{3}[\s.-]\d{4}(?![\w-])", NUMBER),  # 415-555-0100
        (r"(?<![\w.:-])(?!1[5-9]\d{8}(?!\d)|1[5-9]\d{11}(?!\d))\d{10,15}(?![\w.-])", NUMBER),  # no Unix time
        (r"(tel:|sips?:)[^\s@\"'<>]+", r"\1" + NUMBER),
    )
)

_SHORTEST_SECRET = 8
_OFTEN: Final = 80
"""Characters of the longest text that may be remembered: names of events, modules and routes come with every line."""
_REMEMBERED: Final = 1024


class Redactor:
    """Cleans values for logs and traces. It knows this process's own secrets and hides them wherever they turn up."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        known = {secret.reveal() for secret in secrets}
        known |= {part for text in known for part in text.split(",")}
        ordered = sorted((text for text in known if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._known = lru_cache(maxsize=_REMEMBERED)(self._cleaned)

    def text(self, value: str) -> str:
        """``value`` with secrets replaced by ``***`` and phone numbers by ``<number>``."""
        return self._known(value) if len(value) <= _OFTEN else self._cleaned(value)

    def _cleaned(self, value: str) -> str:
        if self._own is not None:
            value = self._own.sub(HIDDEN, value)
        for pattern, replacement in _RULES:
            value = pattern.sub(replacement, value)
        return value

    def field(self, name: str, value: object, depth: int = 6) -> object:
        """``value`` as it may be logged under ``name``: hidden whole when the name says that it is private.

        Structs lose the fields that the contract marks as personal; below ``depth`` levels everything is hidden.
        """
        if _is_private(name):
            return value if value is None or isinstance(value, bool) else HIDDEN
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Secret | bytes | bytearray | memoryview) or depth == 0:
            return HIDDEN
        if isinstance(value, Struct):
            shown = [key for key in value.__struct_fields__ if key not in personal_fields(type(value))]
            value = {key: getattr(value, key) for key in shown}
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.field(str(key), item, depth - 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.field("", item, depth - 1) for item in value]
        return self.text(str(value))


@lru_cache(maxsize=_REMEMBERED)
def _is_private(name: str) -> bool:
    lowered = name.lower().replace("-", "_")
    return lowered in PERSONAL_FIELDS or SECRET_FIELDS.search(lowered) is not None


@lru_cache(maxsize=512)
def personal_fields(shape: type[Struct]) -> frozenset[str]:
    """Names of the fields of ``shape`` that the contract marks as personal (``x-personal`` in their JSON Schema)."""
    hints = get_type_hints(shape, include_extras=True)
    return frozenset(name for name in shape.__struct_fields__ if _is_personal(hints[name]))


def _is_personal(wanted: Any) -> bool:
    if get_origin(wanted) is Annotated:
        inner, *marks = get_args(wanted)
        schemas = (mark.extra_json_schema for mark in marks if isinstance(mark, Meta))
        return any(schema and schema.get("x-personal") for schema in schemas) or _is_personal(inner)
    return any(_is_personal(member) for member in get_args(wanted))
