"""What OPTIONS answers: the methods of a path, all of them, and whether pages from elsewhere may use it.

Litestar makes such an answer with the first handler of a path, and leaves out the methods of those that come later.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler

from turncall_control.auth import Permission

SHARED: Final[Mapping[str, str]] = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
"""With every answer that a page from anywhere may read: what it shows in its header decides, no cookie does."""


def told(handlers: Iterable[ControllerRouterHandler]) -> Iterator[HTTPRouteHandler]:
    """A handler of OPTIONS for every path of these handlers; to be registered before them."""
    methods: dict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    shared: set[str] = set()
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in handler.paths:
                methods[path] |= handler.http_methods
                if handler.opt.get("permission") is Permission.CALLS_CONNECT:
                    shared.add(path)
    for path, allowed in methods.items():
        yield _telling(path, ", ".join(sorted(allowed)), is_shared=path in shared)


def _telling(path: str, allowed: str, *, is_shared: bool) -> HTTPRouteHandler:
    headers = {"Allow": allowed}
    if is_shared:
        headers |= SHARED
        headers |= {
            "Access-Control-Allow-Methods": allowed,
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": "3600",
        }

    @route(path, http_method="OPTIONS", status_code=204, include_in_schema=False, sync_to_thread=False)
    def tell_methods() -> Response[None]:
        return Response(None, headers=headers)

    return tell_methods
