"""/openapi.json and /docs: the reference of exactly the routes that this process serves."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from litestar import Response, get
from litestar.datastructures import State
from litestar.params import FromPath
from openapi_ui_bundles import swagger_ui

from turncall_control.auth import NOTHING, Permission, needs
from turncall_control.errors import NotFound
from turncall_control.plane import Slice

_OPEN: Final = needs(Permission.OPEN, NOTHING)
_HEADERS: Final = {
    # Nothing from elsewhere: the browser itself refuses what the page should never ask for.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    "X-Content-Type-Options": "nosniff",
}
_CACHED: Final = {"Cache-Control": "public, max-age=86400"}
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"


def _ours(name: str) -> bytes:
    return (files("turncall_control.docs") / name).read_bytes()


def _theirs(name: str) -> bytes:
    return (Path(swagger_ui.static_path) / name).read_bytes()


_ASSETS: Final[Mapping[str, tuple[Callable[[str], bytes], str]]] = {
    "start.js": (_ours, _SCRIPT),
    "swagger-ui-bundle.js": (_theirs, _SCRIPT),
    "swagger-ui.css": (_theirs, _STYLE),
}


@get("/openapi.json", sync_to_thread=True, include_in_schema=False, opt=_OPEN)
def get_openapi(state: State) -> Response[bytes]:
    """The OpenAPI document."""
    document: Callable[[], bytes] = state.reference
    return Response(document(), media_type="application/json")


@get("/docs", sync_to_thread=True, include_in_schema=False, opt=_OPEN)
def get_docs() -> Response[bytes]:
    """The reference as a page."""
    return Response(_ours("index.html"), media_type="text/html; charset=utf-8", headers=_HEADERS)


@get("/docs/{name:str}", sync_to_thread=True, include_in_schema=False, opt=_OPEN)
def get_docs_asset(name: FromPath[str]) -> Response[bytes]:
    """What the page is made of."""
    if name not in _ASSETS:
        raise NotFound
    read, media_type = _ASSETS[name]
    return Response(read(name), media_type=media_type, headers=_HEADERS | _CACHED)


DOCS: Final = Slice(name="docs", routes=(get_openapi, get_docs, get_docs_asset))
