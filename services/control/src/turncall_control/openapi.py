"""The API reference: what Litestar knows of the routes, with every struct described by msgspec.

Litestar's own description of a struct leaves out the tags of unions and what `Meta` says in ``extra_json_schema``.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, get_args, get_origin

import msgspec
from litestar import Litestar, Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from turncall_control import __version__, examples
from turncall_control.auth import GRANTS, NOTHING, Finds, Permission, Role, needs
from turncall_control.http.problems import MEDIA_TYPE, Problem
from turncall_proto.events import Event

_REF: Final = "#/components/schemas/{name}"
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name for this request, unique in the project: sent again within a day, with the same body, it "
    "acts no second time and gets the same answer, marked with `Idempotency-Replayed: true`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!-~]+$(?!\n)"},
}
_ACCESS: Final = """\
Send an API key as `Authorization: Bearer tc_…`. What is not of the key's own project looks missing.
Who may do what:"""
_FACT_OF_A_NEWER_RELEASE: Final = {"type": "object", "additionalProperties": True}
_PAGE: Final = re.compile(rb"\bPage_(\w+?)(?:View|Summary)?_(?=\")")
"""How msgspec names a page of something; clients get an ``AgentPage``."""


def configuration() -> OpenAPIConfig:
    """How Litestar describes the routes; the pages that it would serve itself stay unused."""
    return OpenAPIConfig(
        title="TurnCall",
        version=__version__,
        summary="Give an AI agent a phone number and let people call it.",
        openapi_router=Router(
            "/unserved", route_handlers=[], opt=needs(Permission.OPEN, NOTHING), include_in_schema=False
        ),
        operation_id_creator=lambda handler, method, path: handler.handler_name,
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="A project's API key, tc_…"),
                "platform": SecurityScheme(
                    type="apiKey", name="X-Platform-Key", security_scheme_in="header", description="The operator's key."
                ),
            }
        ),
    )


def document(app: Litestar) -> bytes:
    """The OpenAPI 3.1 document of ``app``, which was made with `configuration`; the same bytes for the same routes."""
    described: dict[str, Any] = app.openapi_schema.to_schema()
    operations = {operation["operationId"]: operation for operation in _operations(described)}
    handlers = [handler for handler in _handlers(app) if handler.handler_name in operations]
    permissions: dict[str, Permission] = {handler.handler_name: handler.opt["permission"] for handler in handlers}
    finds: dict[str, Finds] = {handler.handler_name: handler.opt["finds"] for handler in handlers}
    idempotent = {handler.handler_name for handler in handlers if handler.opt["idempotent"]}
    bodies = {handler.handler_name: _kind(handler, "data") for handler in handlers}
    answers = {handler.handler_name: _answer(handler) for handler in handlers}
    forms = {handler.handler_name: handler.opt["form"] for handler in handlers if handler.opt["form"] is not None}
    taken = [Problem, *bodies.values(), *answers.values(), *forms.values()]
    kinds = [kind for kind in taken if _is_described_by_msgspec(kind)]
    (*schemas, facts), components = msgspec.json.schema_components([*kinds, Event], ref_template=_REF)
    components["StoredFact"]["properties"]["data"] |= {"anyOf": [facts, _FACT_OF_A_NEWER_RELEASE]}
    schema_of = dict(zip(map(str, kinds), schemas, strict=True))
    for name, operation in operations.items():
        if name in idempotent:
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        _describe(operation, finds[name])
        operation |= _who(permissions[name]) | {"summary": name.replace("_", " ").capitalize()}
        _replace(operation.get("requestBody", {}), schema_of.get(str(bodies[name])))
        if name in forms:
            form = {"multipart/form-data": {"schema": schema_of[str(forms[name])]}}
            operation["requestBody"] = {"required": True, "content": form}
        # Litestar adds a 400 of its own shape wherever there is a parameter; ours is a 422.
        told = {
            status: answer for status, answer in operation["responses"].items() if not _is_litestars(status, answer)
        }
        operation["responses"] = told
        for status, response in told.items():
            is_problem = MEDIA_TYPE in response.get("content", {})
            _replace(response, schema_of.get(str(Problem if is_problem else answers[name])))
            if status == "204":
                response.pop("content", None)
    described["info"]["description"] = f"{_ACCESS}\n\n{matrix(app)}"
    left = described["components"].get("schemas", {})
    described["components"]["schemas"] = _exemplified(_referenced(described["paths"], left | components))
    written = msgspec.json.format(msgspec.json.encode(described, order="deterministic"), indent=2) + b"\n"
    return _PAGE.sub(rb"\1Page", written)


def matrix(app: Litestar) -> str:
    """Every operation of the API, what it needs, how it finds its object and who may: a table in Markdown."""
    lines = ["| Operation | | Needs | Object | Roles |", "|---|---|---|---|---|"]
    for route in sorted((route for route in app.routes if isinstance(route, HTTPRoute)), key=lambda it: it.path_format):
        for handler in sorted(route.route_handlers, key=lambda it: sorted(it.http_methods)):
            if not route.path_format.startswith("/v1/") or handler.http_methods == {"OPTIONS"}:
                continue
            permission, finds = handler.opt["permission"], handler.opt["finds"]
            roles = ", ".join(role for role in Role if permission in GRANTS[role]) or "the operator"
            found = f"`{finds.parameter}`" if finds.how == "path" else finds.how
            called = f"`{' '.join(handler.http_methods)} {route.path_format}`"
            lines.append(f"| `{handler.handler_name}` | {called} | `{permission}` | {found} | {roles} |")
    return "\n".join(lines) + "\n"


def _who(permission: Permission) -> dict[str, Any]:
    """Who may call an operation, as the guard will decide it: one row of the matrix of roles and routes."""
    return {"x-permission": permission, "x-roles": [role for role in Role if permission in GRANTS[role]]}


def _describe(operation: dict[str, Any], finds: Finds) -> None:
    """Says of each id in the path of which kind it is, and gives every parameter an example."""
    kinds: dict[str, str] = {}
    found: Finds | None = finds
    while found is not None:
        kinds[found.parameter] = found.prefix
        found = found.within
    for parameter in operation.get("parameters", []):
        kind = kinds.get(parameter["name"], "")
        if parameter["in"] == "path" and kind:
            noun = parameter["name"].removesuffix("_id").replace("_", " ")
            parameter["description"] = f"The {noun}'s id, {kind}_…"
            parameter["schema"] = {"type": "string", "pattern": rf"^{kind}_[0-9a-f]{{32}}$(?!\n)"}
            parameter["example"] = examples.id_of(kind)
        elif parameter["in"] == "path":
            parameter["description"] = f"The {parameter['name'].replace('_', ' ')}, as it was given."


def _exemplified(components: dict[str, Any]) -> dict[str, Any]:
    """The components, each with an example of itself; a test finds the ones of which none could be made."""
    making = examples.Examples(components)
    told = dict(components)
    for name, schema in components.items():
        with suppress(examples.NoExample):
            told[name] = schema | {"examples": [making.of(schema, name)]}
    return told


def _operations(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in described["paths"].values():
        yield from (operation for operation in item.values() if "operationId" in operation)


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            yield from route.route_handlers


def _is_litestars(status: str, response: dict[str, Any]) -> bool:
    return status == "400" and MEDIA_TYPE not in response.get("content", {})


def _kind(handler: HTTPRouteHandler, parameter: str) -> Any:
    definition = handler.parsed_fn_signature.parameters.get(parameter)
    return None if definition is None else definition.annotation


def _answer(handler: HTTPRouteHandler) -> Any:
    """What a handler returns; of a whole response, what is in it."""
    annotation = handler.parsed_fn_signature.return_type.annotation
    return get_args(annotation)[0] if get_origin(annotation) is Response else annotation


def _is_described_by_msgspec(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind)
    except TypeError:
        return False
    return kind is not None


def _replace(holder: dict[str, Any], schema: dict[str, Any] | None) -> None:
    if schema is not None:
        for media in holder.get("content", {}).values():
            media["schema"] = schema


def _referenced(paths: object, components: dict[str, Any]) -> dict[str, Any]:
    """The components that the paths need, those that these need, and so on."""
    needed: dict[str, Any] = {}
    waiting = [paths]
    while waiting:
        text = msgspec.json.encode(waiting.pop()).decode()
        for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
            if name not in needed:
                needed[name] = components[name]
                waiting.append(components[name])
    return needed
