"""Messages on their way through WhatsApp, and the JSON in which webhooks tell of them."""

from datetime import datetime
from secrets import token_hex
from typing import Any

import msgspec

type Json = dict[str, Any]


class App(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's app: where its webhooks go, and the secret that signs them."""

    secret: str
    webhook_url: str = ""


class BusinessPhone(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a customer's: its id in the Graph API, and the token that may use it. ``number`` has no plus."""

    id: str
    number: str
    token: str
    account_id: str = "900100"
    templates: tuple[str, ...] = ()


class Received(msgspec.Struct, kw_only=True):
    """Something on a person's phone. ``status`` is how far it has come: sent, delivered, read or failed."""

    id: str
    phone: BusinessPhone
    person: str
    text: str
    template: str = ""
    reference: str = ""
    status: str = "sent"


def new_id() -> str:
    """The id of a message."""
    return f"wamid.{token_hex(20).upper()}"


def written(person: str, text: str, at: datetime, message_id: str) -> Json:
    """A text message of a person, as ``value.messages`` has it."""
    stamp = str(int(at.timestamp()))
    return {"from": person, "id": message_id, "timestamp": stamp, "type": "text", "text": {"body": text}}


def told(message: Received, status: str, at: datetime, code: int | None = None) -> Json:
    """How a message has come along, as ``value.statuses`` has it; errors lack ``href``, as in captures."""
    said: Json = {
        "id": message.id,
        "status": status,
        "timestamp": str(int(at.timestamp())),
        "recipient_id": message.person,
    }
    if message.reference:
        said["biz_opaque_callback_data"] = message.reference
    if code is not None:
        said["errors"] = [{"code": code, "title": "Message undeliverable", "error_data": {"details": "undeliverable"}}]
    return said


def change(phone: BusinessPhone, field: str = "messages", **value: Any) -> Json:
    """One change of a webhook about a number."""
    about = {"display_phone_number": phone.number, "phone_number_id": phone.id}
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": about, **value}}


def contact(person: str) -> Json:
    """Who wrote, as ``value.contacts`` has it."""
    return {"profile": {"name": "A person"}, "wa_id": person}
