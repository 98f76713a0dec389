"""What every route owes the guard and the reference: its declaration checked, its inputs and errors written down."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from turncall_control import idempotency
from turncall_control.auth import Finds, Permission
from turncall_control.http.problems import MEDIA_TYPE, Problem

_SECURITY: Final[dict[Permission, dict[str, list[str]]]] = {
    Permission.OPEN: {},
    Permission.SIGNED: {},
    Permission.PLATFORM: {"platform": []},
}
_BODY: Final = {400: "Not JSON.", 413: "Too large.", 415: "Not application/json.", 422: "A field is not valid."}

_FORM: Final = {400: "No form.", 413: "Too large.", 415: "Not multipart/form-data.", 422: "A field is not valid."}


class Contract(ReceiveRoutePlugin):
    """Refuses a route that does not declare who may call it; completes those that do."""

    def receive_route(self, route: BaseRoute) -> None:
        """Adds to every handler of a route the names of its query parameters, its security and its error responses."""
        if not isinstance(route, HTTPRoute):
            return
        for handler, inputs in route.route_handler_map.values():
            if handler.http_methods == {"OPTIONS"}:
                continue
            permission, finds = handler.opt.get("permission"), handler.opt.get("finds")
            if not isinstance(permission, Permission) or not isinstance(finds, Finds):
                raise ImproperlyConfiguredException(f"{handler} on {route.path} lacks opt=needs(permission, finds)")
            handler.opt["has_session"] = "session" in handler.parsed_fn_signature.parameters
            if handler.opt["audited"] is None:
                handler.opt["audited"] = handler.http_methods != {"GET"}
            handler.opt["query"] = frozenset(parameter.field_alias for parameter in inputs.expected_query_params)
            moments, choices = _moments(handler), _choices(handler)
            handler.opt["moments"] = frozenset(
                parameter.field_alias for parameter in inputs.expected_query_params if parameter.field_name in moments
            )
            handler.opt["choices"] = {
                parameter.field_alias: choices[parameter.field_name]
                for parameter in inputs.expected_query_params
                if parameter.field_name in choices
            }
            handler.security = [_SECURITY.get(permission, {"key": []})]
            described = _errors(permission, finds, has_data="data" in handler.parsed_fn_signature.parameters)
            if handler.opt["form"] is not None:
                described |= _FORM
            kept = (idempotency.KeyReused, idempotency.StillRunning, idempotency.AnswerLost)
            for failure in (*handler.opt["fails"], *(kept if handler.opt["idempotent"] else ())):
                described[failure.status] = " ".join(filter(None, [described.get(failure.status), f"{failure.title}."]))
            handler.responses = {
                status: ResponseSpec(Problem, generate_examples=False, description=text, media_type=MEDIA_TYPE)
                for status, text in sorted(described.items())
            } | dict(handler.responses or {})


def _moments(handler: HTTPRouteHandler) -> set[str]:
    """The parameters of a handler and of what it depends on that are points in time."""
    return {name for name, kinds in _kinds(handler) if datetime in kinds}


def _choices(handler: HTTPRouteHandler) -> dict[str, tuple[str, ...]]:
    """The parameters that are one of a few words, with these."""
    return {name: words for name, kinds in _kinds(handler) if (words := tuple(_words(kinds)))}


def _words(kinds: Iterable[Any]) -> Iterator[str]:
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            yield from (str(member.value) for member in kind)
        elif get_origin(kind) is Literal:
            yield from map(str, get_args(kind))


def _kinds(handler: HTTPRouteHandler) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The parameters of a handler and of what it depends on, each with the types that it may be of."""
    providers = handler.resolve_dependencies().values()
    for signature in (handler.parsed_fn_signature, *(provider.parsed_fn_signature for provider in providers)):
        for name, definition in signature.parameters.items():
            yield name, (definition.annotation, *get_args(definition.annotation))


def _errors(permission: Permission, finds: Finds, *, has_data: bool) -> dict[int, str]:
    described = {503: "The database is away; see Retry-After."}
    if permission not in (Permission.OPEN, Permission.SIGNED):
        described[401] = "No valid key."
        described[429] = "Too many requests; see Retry-After."
        described[422] = "A parameter is not valid."
    if permission not in (Permission.OPEN, Permission.SIGNED, Permission.PLATFORM):
        described[403] = f"The key's role lacks {permission}."
    if finds.how == "path":
        described[404] = "There is no such object in the caller's project."
    if has_data:
        described |= _BODY
    return described
