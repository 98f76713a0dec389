"""Every error as one shape, RFC 9457 ``application/problem+json``: ours, validation's and the framework's alike."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException, ValidationException
from litestar.types import ExceptionHandlersMap
from msgspec import Meta, Struct

from turncall_control import errors
from turncall_control.db import failures
from turncall_control.db.act import current
from turncall_control.errors import ControlError, Fault
from turncall_control.http.attribution import Replayed, replay
from turncall_control.http.observation import request_id
from turncall_runtime import logs

MEDIA_TYPE: Final = "application/problem+json"
_TYPES: Final = "urn:turncall:problem:"

log = logs.logger(__name__)


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not served (RFC 9457). ``type`` and ``status`` are stable, ``detail`` is for people."""

    type: Annotated[str, Meta(examples=["urn:turncall:problem:invalid"])]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    request_id: Annotated[str, Meta(description="Also in the X-Request-ID header and in our logs.")]
    detail: str = ""
    errors: Annotated[tuple[Fault, ...], Meta(description="The fields that are wrong, by path.")] = ()


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The problem document for whatever a request raised; what nobody foresaw is logged and told without detail."""
    act = current()
    if act is not None:
        act.is_refused = isinstance(error, ControlError)
    known = _known(error)
    if known is None:
        log.error("request.failed", path=request.scope["path"], method=request.method, exc_info=error)
        known = ControlError("this is a defect of the service; the request id finds it in the logs")
    headers = dict(known.headers)
    if known.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    document = Problem(
        type=_TYPES + known.name,
        title=known.title,
        status=known.status,
        request_id=request_id(request.scope),
        detail=known.detail,
        errors=known.faults,
    )
    return Response(document, status_code=known.status, media_type=MEDIA_TYPE, headers=headers)


HANDLERS: Final[ExceptionHandlersMap] = {Exception: respond, HTTPException: respond, Replayed: replay}
"""For the application: nothing leaves in any other shape."""


def _known(error: Exception) -> ControlError | None:
    if isinstance(error, ControlError):
        return error
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        return _known(error.exceptions[0])
    if isinstance(error, failures.FAILURES):
        return failures.translated(error)
    if isinstance(error, ValidationException):
        return errors.Invalid(faults=_faults(error.extra))
    if isinstance(error, HTTPException):
        return _of_framework(error)
    return None


def _of_framework(error: HTTPException) -> ControlError | None:
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    match error.status_code:
        case HTTPStatus.BAD_REQUEST:
            return errors.Malformed(error.detail)
        case HTTPStatus.NOT_FOUND:
            return errors.NotFound()
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return errors.MethodNotAllowed(headers=headers)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return errors.TooLarge()
        case _ if isinstance(error, NotAuthorizedException):
            return errors.Unauthorised()
        case _ if isinstance(error, PermissionDeniedException):
            return errors.Forbidden()
        case _:
            return None


def _faults(extra: object) -> list[Fault]:
    """Litestar's list of what is wrong with parameters: a key, a message."""
    messages = [item for item in extra if isinstance(item, Mapping)] if isinstance(extra, list) else []
    return [
        Fault(field=str(item.get("key", "")), message=str(item.get("message", "It is not valid"))) for item in messages
    ]
