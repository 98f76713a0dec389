"""JSON bodies, read strictly: no coercion, the field named when it is wrong, nothing that Postgres cannot store."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Empty

from turncall_control.errors import Fault, Invalid, Malformed, UnsupportedMedia
from turncall_control.http import wording

MAX_BODY_BYTES: Final = 1024 * 1024
"""Of a JSON body; the longest prompt takes an eighth of it."""

MAX_DEPTH: Final = 64
"""Of nested objects and arrays."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or the unfinished one at the end: it always matches where it begins, so it never scans twice."""
_BRACKET = re.compile(rb"[\[\]{}]")
_AT = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]+)`")


class StrictRequest(Request[Any, Any, State]):
    """A request whose JSON body becomes the handler's struct at once.

    Litestar converts bodies leniently (``"5"`` is an int); a struct that is already of the right type passes through.
    """

    async def body(self) -> bytes:
        """The bytes of the body. Raises `Malformed` when the handler reads one and there is none."""
        content = await super().body()
        if not content and "data" in self.route_handler.parsed_fn_signature.parameters:
            raise Malformed("a JSON body is needed")
        return content

    async def json(self) -> Any:
        """The body as what the handler's ``data`` asks for. Raises `UnsupportedMedia`, `Malformed` or `Invalid`."""
        if self._json is Empty:
            media_type = self.content_type[0]
            if media_type != "application/json":
                raise UnsupportedMedia("send the body as application/json")
            kind = self.route_handler.parsed_fn_signature.parameters["data"].annotation
            self._json = decoded(await self.body(), kind)
        return self._json


def decoded[T](body: bytes, kind: type[T]) -> T:
    """``body`` as a ``kind``. Raises `Malformed` when it is not JSON and `Invalid` when it is not a ``kind``."""
    _refuse_depth(body)
    if b"\\u0000" in body:
        _refuse_nul(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(faults=[fault(str(error), kind=kind)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error


def fault(message: str, root: str = "", kind: Any = None) -> Fault:
    """What msgspec says, as a field's path and a sentence: ``Expected `int` - at `$.a.b[0]``` names ``a.b[0]``.

    With the ``kind`` of the whole the sentence also tells what may stand there.
    """
    found = _AT.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    named = _NAMED.search(what)
    parts = [root, path.removeprefix("."), named["name"] if named else ""]
    sentence = what if kind is None else wording.helpful(what, path, kind)
    return Fault(field=".".join(part for part in parts if part).replace(".[", "["), message=sentence)


def _refuse_depth(body: bytes) -> None:
    """Counts brackets outside strings, before anything recurses over what they hold."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels")


def _refuse_nul(body: bytes) -> None:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    faults = [Fault(field=path, message="A NUL character cannot be stored") for path in _nul_paths(content, "")]
    if faults:
        raise Invalid(faults=faults)


def _nul_paths(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\0" in key:
                yield path
            yield from _nul_paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nul_paths(item, f"{path}[{index}]")
