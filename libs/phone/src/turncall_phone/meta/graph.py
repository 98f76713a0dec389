"""The Graph API for messages and calls: who may send what, to whom, in Meta's words."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol

from aiohttp import web

from turncall_phone.clock import Clock
from turncall_phone.meta.calls import Calls
from turncall_phone.meta.messages import BusinessPhone, Json, Received, new_id
from turncall_phone.meta.refusals import Refusal

VERSION = "v23.0"
WINDOW = timedelta(hours=24)
LONGEST = 4096


class Office(Protocol):
    """What the API acts on."""

    clock: Clock
    calls: Calls

    def business_phone(self, phone_id: str) -> BusinessPhone | None:
        """The number with this id."""
        ...

    def is_open(self, phone: BusinessPhone, person: str) -> bool:
        """The person has written to the number within 24 hours."""
        ...

    def fails(self, person: str) -> int | None:
        """Why nothing reaches this person, by Meta's code."""
        ...

    def take(self, message: Received) -> None:
        """Carry a message to its person."""
        ...

    def mark(self, message_id: str, *, is_typing: bool) -> bool:
        """Show the person that the message was read; False for an unknown one."""
        ...

    def strike(self) -> tuple[int, bool] | None:
        """A failure that is due: its status, and whether the request takes effect first."""
        ...


def add_graph(app: web.Application, office: Office) -> None:
    """Put the API on `app`."""
    app.router.add_post(f"/{VERSION}/{{phone}}/messages", _guarded(office, _send))
    app.router.add_post(f"/{VERSION}/{{phone}}/calls", _guarded(office, _call))
    app.router.add_get(f"/{VERSION}/{{phone}}/call_permissions", _guarded(office, _permission))
    app.router.add_get(f"/{VERSION}/{{phone}}", _guarded(office, _show))


type Handle = Callable[[Office, BusinessPhone, Json], Json]


def _guarded(office: Office, handle: Handle) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        fault = office.strike() if request.method == "POST" else None
        try:
            phone = _authorised(office, request)
            body = json.loads(await request.text() or "{}") | dict(request.query)
            if fault is None or fault[1]:
                done = handle(office, phone, body)
        except Refusal as refusal:
            return web.json_response(refusal.body(), status=refusal.status)
        except ValueError:
            return web.json_response(Refusal(400, 100, "Invalid parameter").body(), status=400)
        if fault is not None:
            return web.json_response(Refusal(fault[0], 1, "An unknown error has occurred").body(), status=fault[0])
        return web.json_response(done)

    return answer


def _authorised(office: Office, request: web.Request) -> BusinessPhone:
    phone = office.business_phone(request.match_info["phone"])
    if phone is None:
        raise Refusal(400, 100, "Unsupported request: the object does not exist")
    if request.headers.get("Authorization") != f"Bearer {phone.token}":
        raise Refusal(401, 190, "Invalid OAuth access token")
    return phone


def _show(office: Office, phone: BusinessPhone, _: Json) -> Json:
    return {"id": phone.id, "display_phone_number": f"+{phone.number}", "quality_rating": "GREEN"}


def _call(office: Office, phone: BusinessPhone, body: Json) -> Json:
    if body.get("messaging_product") != "whatsapp":
        raise Refusal(400, 100, "The parameter messaging_product is required.")
    return office.calls.act(phone, body)


def _permission(office: Office, phone: BusinessPhone, body: Json) -> Json:
    return office.calls.permission(phone, str(body.get("user_wa_id", "")).removeprefix("+"))


def _send(office: Office, phone: BusinessPhone, body: Json) -> Json:
    if body.get("messaging_product") != "whatsapp":
        raise Refusal(400, 100, "The parameter messaging_product is required.")
    if body.get("status") == "read":
        if not office.mark(str(body.get("message_id")), is_typing="typing_indicator" in body):
            raise Refusal(400, 100, "Invalid parameter: message_id")
        return {"success": True}
    person = str(body.get("to", "")).removeprefix("+")
    if not person.isdigit():
        raise Refusal(400, 131009, "Parameter value is not valid: to")
    message = Received(id=new_id(), phone=phone, person=person, text="")
    message.reference = str(body.get("biz_opaque_callback_data", ""))
    match body.get("type"):
        case "text":
            message.text = _text(body.get("text"))
            if not office.is_open(phone, person):
                raise Refusal(400, 131047, "Re-engagement message: more than 24 hours have passed")
        case "template":
            message.template, message.text = _template(phone, body.get("template"))
        case other:
            raise Refusal(400, 131051, f"Unsupported message type: {other}")
    code = office.fails(person)
    if code is not None and code < 131_000:
        raise Refusal(429 if code in (4, 130_429) else 400, code, "The message cannot be sent")
    office.take(message)
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": person, "wa_id": person}],
        "messages": [{"id": message.id}],
    }


def _text(text: Any) -> str:
    body = text.get("body") if isinstance(text, dict) else None
    if not isinstance(body, str) or not 1 <= len(body) <= LONGEST:
        raise Refusal(400, 100, "Param text['body'] must be 1 to 4096 characters long")
    return body


def _template(phone: BusinessPhone, template: Any) -> tuple[str, str]:
    """Its name, and its parameters as the person reads them."""
    if not isinstance(template, dict) or template.get("name") not in phone.templates:
        raise Refusal(404, 132001, "Template name does not exist in the translation")
    if not template.get("language", {}).get("code"):
        raise Refusal(400, 132000, "The language of the template is required")
    parts = [part for component in template.get("components", []) for part in component.get("parameters", [])]
    return str(template["name"]), " ".join(str(part.get("text", "")) for part in parts)
