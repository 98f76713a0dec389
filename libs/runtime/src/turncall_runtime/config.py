"""From the environment to a frozen struct: names, types, secrets, and what production refuses."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from turncall_runtime.secret import Secret

PREFIX: Final = "TURNCALL_"

Environment = Literal["development", "production"]
"""The type of a config's ``env`` field. Unset means production: what forgets to choose gets the strict rules."""


class Prefixed(Struct, frozen=True):
    """Marks a mapping filled from every variable that starts with ``prefix``.

    ``Annotated[dict[str, Secret], Prefixed("TURNCALL_VENDOR_KEY_")]`` makes ``{"deepgram": …}`` out of
    ``TURNCALL_VENDOR_KEY_DEEPGRAM``: the rest of the name in lower case is the key.
    """

    prefix: str


class Development(Struct, frozen=True):
    """Marks a field with a default for development, written as it would stand in the environment.

    Production must set such a field, and to something else: the value here is public.
    """

    value: str


class ConfigRefused(Exception):
    """The environment does not make a configuration. ``problems`` holds one sentence for each variable at fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the environment does not configure this process:\n  " + "\n  ".join(self.problems))


def load[ConfigT: Struct](shape: type[ConfigT], environ: Mapping[str, str]) -> ConfigT:
    """The configuration that ``environ`` holds for ``shape``, a frozen struct.

    The field ``http_port`` is read from ``TURNCALL_HTTP_PORT``. An empty variable counts as unset; a tuple is
    separated by commas; other variables are left alone, since both planes may share one file. Raises `ConfigRefused`
    once, with every missing and malformed variable in it, and with every development default under production.
    """
    production = _mode(shape, environ) != "development"
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in fields(shape):
        try:
            value = _read(field, environ, production)
        except _Unusable as fault:
            problems.extend(fault.args)
        else:
            if value is not NODEFAULT:
                values[field.name] = value
    if problems:
        raise ConfigRefused(problems)
    return shape(**values)


def variable(field_name: str) -> str:
    """The environment variable of a field: ``http_port`` -> ``TURNCALL_HTTP_PORT``."""
    return PREFIX + field_name.upper()


def secrets_of(config: Struct) -> tuple[Secret, ...]:
    """Every non-empty secret that a configuration holds, at any depth of its tuples and mappings."""
    return tuple(_secrets_in([getattr(config, name) for name in config.__struct_fields__]))


def env_example(shape: type[Struct]) -> str:
    """The commented example file for ``shape``: description, default and name of each variable, in field order."""
    return "\n".join(_example(field) for field in fields(shape))


class _Unusable(Exception):
    """Each argument is a sentence about one variable."""


def _read(field: FieldInfo, environ: Mapping[str, str], production: bool) -> object:
    """A field's value, `NODEFAULT` where its own default applies."""
    prefixed = _mark(field, Prefixed)
    if prefixed is not None:
        return _read_prefixed(field, prefixed.prefix, environ)
    name = variable(field.name)
    text = environ.get(name, "").strip()
    development = _mark(field, Development)
    if development is not None and not text and not production:
        text = development.value
    if development is not None and production and text in ("", development.value):
        what = "is missing" if not text else "holds the public development value"
        raise _Unusable(f"{name} {what}; production needs its own (or set TURNCALL_ENV=development)")
    if text:
        return _parsed(name, text, field.type)
    if field.required:
        raise _Unusable(f"{name} is missing{_hint(field)}")
    return NODEFAULT


def _read_prefixed(field: FieldInfo, prefix: str, environ: Mapping[str, str]) -> dict[str, object]:
    _, value_type = get_args(_bare(field.type))
    found: dict[str, object] = {}
    problems: list[str] = []
    for name in sorted(environ):
        text = environ[name].strip()
        if text and name.startswith(prefix) and name != prefix:
            try:
                found[name.removeprefix(prefix).lower()] = _parsed(name, text, value_type)
            except _Unusable as fault:
                problems.extend(fault.args)
    if problems:
        raise _Unusable(*problems)
    return found


def _parsed(name: str, text: str, wanted: Any) -> object:
    """``text`` as the wanted type; numbers and booleans are read from their usual spellings only."""
    raw: object = text
    if get_origin(_bare(wanted)) is tuple:
        raw = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return convert(raw, wanted, strict=False, dec_hook=_decode)
    except ValidationError as error:
        raise _Unusable(f"{name} is malformed: {error}") from error


def _decode(wanted: type, value: object) -> object:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"a configuration field cannot be a {wanted.__name__}")


def _mode(shape: type[Struct], environ: Mapping[str, str]) -> str:
    default = next((field.default for field in fields(shape) if field.name == "env"), NODEFAULT)
    return environ.get(variable("env"), "").strip() or (default if isinstance(default, str) else "production")


def _annotations(wanted: Any) -> Iterator[object]:
    if get_origin(wanted) is Annotated:
        inner, *marks = get_args(wanted)
        yield from marks
        yield from _annotations(inner)


def _mark[MarkT](field: FieldInfo, kind: type[MarkT]) -> MarkT | None:
    return next((mark for mark in _annotations(field.type) if isinstance(mark, kind)), None)


def _bare(wanted: Any) -> Any:
    """The type below its annotations and, for an optional one, beside ``None``."""
    while get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    if get_origin(wanted) in (Union, UnionType):
        others = [member for member in get_args(wanted) if member is not type(None)]
        if len(others) == 1:
            return _bare(others[0])
    return wanted


def _description(field: FieldInfo) -> str:
    texts = (mark.description for mark in _annotations(field.type) if isinstance(mark, Meta))
    return " ".join(text for text in texts if text)


def _hint(field: FieldInfo) -> str:
    text = _description(field)
    return f": {text}" if text else ""


def _secrets_in(values: Sequence[object]) -> Iterator[Secret]:
    for value in values:
        if isinstance(value, Secret):
            yield from [value] if value else []
        elif isinstance(value, Mapping):
            yield from _secrets_in(list(value.values()))
        elif isinstance(value, tuple | list):
            yield from _secrets_in(value)


def _example(field: FieldInfo) -> str:
    prefixed, development = _mark(field, Prefixed), _mark(field, Development)
    lines = wrap(_description(field), 110, initial_indent="# ", subsequent_indent="# ")
    if prefixed is not None:
        lines.append(f"# {prefixed.prefix}<NAME>=")
    elif development is not None:
        lines += [f"# In development: {development.value}. Production must set its own.", f"{variable(field.name)}="]
    elif field.required:
        lines += ["# Required.", f"{variable(field.name)}="]
    else:
        lines.append(f"# {variable(field.name)}={_spelled(field)}")
    return "\n".join(lines) + "\n"


def _spelled(field: FieldInfo) -> str:
    """A default as it would stand in the environment."""
    value = field.default if field.default_factory is NODEFAULT else field.default_factory()
    if value is None or isinstance(value, Secret):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)
