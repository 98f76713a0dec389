"""/call: a page that calls an agent, and the script of which other pages make their own."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from litestar import Response, get
from litestar.params import FromPath

from turncall_control.auth import NOTHING, Permission, needs
from turncall_control.errors import NotFound

_OPEN: Final = needs(Permission.OPEN, NOTHING)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob: mediastream:; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CACHED: Final = {"Cache-Control": "public, max-age=300"}
_ASSETS: Final[Mapping[str, str]] = {
    "turncall.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


@cache
def _read(name: str) -> bytes:
    return (files("turncall_control.browser") / "page" / name).read_bytes()


@get("/call", sync_to_thread=True, include_in_schema=False, opt=_OPEN)
def get_page() -> Response[bytes]:
    """The page; a client token stands behind the # of its address."""
    return Response(_read("page.html"), media_type="text/html; charset=utf-8", headers=_HEADERS)


@get("/call/{name:str}", sync_to_thread=True, include_in_schema=False, opt=_OPEN)
def get_page_asset(name: FromPath[str]) -> Response[bytes]:
    """What the page is made of; ``turncall.js`` may be loaded by any other page."""
    if name not in _ASSETS:
        raise NotFound
    shared = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(_read(name), media_type=_ASSETS[name], headers=_HEADERS | _CACHED | shared)
