"""What OPTIONS answers: the methods of a path, all of them.

Litestar makes such an answer with the first handler of a path, and leaves out the methods of those that come later.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler


def told(handlers: Iterable[ControllerRouterHandler]) -> Iterator[HTTPRouteHandler]:
    """A handler of OPTIONS for every path of these handlers; to be registered before them."""
    methods: dict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in handler.paths:
                methods[path] |= handler.http_methods
    for path, allowed in methods.items():
        yield _telling(path, ", ".join(sorted(allowed)))


def _telling(path: str, allowed: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, include_in_schema=False, sync_to_thread=False)
    def tell_methods() -> Response[None]:
        return Response(None, headers={"Allow": allowed})

    return tell_methods
