"""/webhooks/whatsapp/{project}: what Meta brings of a project's WhatsApp numbers, every entry and change of a batch.

Nothing is read before the signature over the raw bytes holds. What is of no kind that is known is counted and left; a
batch that could not be taken in whole is refused, and Meta brings it again: each part of it counts once.
"""

import asyncio
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import FromPath

from turncall_control.calls import exchange
from turncall_control.carriers import whatsapp
from turncall_control.carriers.accounts import Proof
from turncall_control.ingress.signed import OPT, SignatureRefused
from turncall_control.messaging import arrivals
from turncall_control.plane import Plane
from turncall_control.texts import statuses
from turncall_control.wallet import WhatsAppSender
from turncall_control.whatsapp import ends, incoming, outgoing, told
from turncall_control.whatsapp.incoming import Rest
from turncall_control.whatsapp.told import CallTold
from turncall_proto import ids
from turncall_proto.arrival import Attached, TextArrived
from turncall_proto.ids import ProjectId, TextId
from turncall_runtime import logs

MAX_ID_LENGTH: Final = 256
MAX_TYPE_LENGTH: Final = 128
MAX_NAME_LENGTH: Final = 256
_MEDIA: Final[Mapping[str, str]] = {
    "image": "image/jpeg",
    "sticker": "image/webp",
    "video": "video/mp4",
    "audio": "audio/ogg",
    "document": "application/octet-stream",
}
"""Kinds of messages that carry something, and what that is when Meta does not say."""

log = logs.logger(__name__)


@get("/webhooks/whatsapp/{project_id:str}", opt=OPT, include_in_schema=False, media_type=MediaType.TEXT)
async def verify_webhook(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], project_id: FromPath[str]
) -> str:
    """Meta asks whether the address is meant: whoever knows the token gets the challenge back."""
    given = request.query_params.get("hub.verify_token", "").encode("utf-8", "replace")
    known = [sender.verify_token.reveal().encode() for sender in await _senders(plane, project_id)]
    if request.query_params.get("hub.mode") != "subscribe" or not any(hmac.compare_digest(given, one) for one in known):
        raise SignatureRefused("no sender of the project has this verify token")
    return request.query_params.get("hub.challenge", "")[:MAX_ID_LENGTH]


@post("/webhooks/whatsapp/{project_id:str}", status_code=200, opt=OPT, include_in_schema=False)
async def take_batch(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], project_id: FromPath[str]
) -> Response[str]:
    """Meta tells what happened on the project's numbers."""
    body, signature = await request.body(), request.headers.get(whatsapp.SIGNATURE_HEADER, "")
    senders = {
        sender.phone_number_id
        for sender in await _senders(plane, project_id)
        if whatsapp.is_signed(body, signature, sender.app_secrets)
    }
    if not senders:
        raise SignatureRefused("no sender of the project has the secret that signed it")
    rest: list[Rest] = []
    try:
        for field, value in _changes(body):
            await _take(plane, ProjectId(project_id), senders, rest, field, value)
    except Exception as error:  # a request boundary: the sender reads nothing but the status
        log.error("whatsapp.not_taken", project_id=project_id, exc_info=error)
        return Response("", status_code=503, media_type=MediaType.TEXT)
    return Response("", media_type=MediaType.TEXT, background=BackgroundTask(_go_on, rest))


async def _go_on(rest: Sequence[Rest]) -> None:
    """Does what is left, each for itself."""
    async with asyncio.TaskGroup() as group:
        for one in rest:
            group.create_task(_attempted(one))


async def _attempted(rest: Rest) -> None:
    try:
        await rest()
    except Exception as error:  # the boundary of one call: the others of its batch go on
        log.error("whatsapp.call_left", exc_info=error)


async def _senders(plane: Plane, project_id: str) -> tuple[WhatsAppSender, ...]:
    """The project's senders; none for a project that is not there. Raises `SignatureRefused` for no id at all."""
    try:
        ids.parsed(ids.PROJECT, project_id)
    except ids.MalformedId as error:
        raise SignatureRefused("there is no such project") from error
    return (await plane.wallets.open(ProjectId(project_id))).whatsapp


def _changes(body: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Field and value of every change in a signed batch; what has no such shape is an unknown field of nothing."""
    try:
        batch = msgspec.json.decode(body)
    except msgspec.DecodeError:
        batch = None
    for entry in _list(batch, "entry") or [None]:
        for change in _list(entry, "changes") or [None]:
            field, value = _of(change, "field"), _of(change, "value")
            yield str(field or ""), value if isinstance(value, dict) else {}


async def _take(
    plane: Plane, project_id: ProjectId, senders: set[str], rest: list[Rest], field: str, value: Mapping[str, Any]
) -> None:
    """One change, of a number whose own app has signed it; ``rest`` gets what is left to be done afterwards."""
    counted = plane.counts.whatsapp
    phone_number_id = str(_of(value, "metadata", "phone_number_id") or "")
    if field not in ("messages", "calls") or phone_number_id not in senders:
        counted.labels("unknown" if field not in ("messages", "calls") else "foreign").inc()
        return
    proof = Proof(account=phone_number_id, is_installations=False, holders=frozenset({project_id}))
    number = told.e164(str(_of(value, "metadata", "display_phone_number") or ""))
    for entry in _list(value, "calls"):
        said = told.call(proof, number, entry)
        counted.labels("unreadable" if said is None else "call").inc()
        if said is not None:
            rest += await _take_call(plane, project_id, said)
    for message in _list(value, "messages"):
        arrived = _arrived(proof, value, message)
        counted.labels("unreadable" if arrived is None else "message").inc()
        if arrived is not None:
            await arrivals.bring(plane, arrived)
    for status in _list(value, "statuses"):
        counted.labels("status").inc()
        said = told.status(proof, number, status)
        if said is not None:
            rest += await _take_call(plane, project_id, said)
        else:
            await _note(plane, proof, status)


async def _take_call(plane: Plane, project_id: ProjectId, said: CallTold) -> list[Rest]:
    """One statement about a call, and what is left to be done about it."""
    if said.event == "connect" and said.is_ours:
        return [partial(outgoing.picked_up, plane, project_id, said)]
    if said.event == "connect":
        left = await incoming.take(plane, project_id, said)
        return [left] if left is not None else []
    over = await ends.take(plane, said)
    return [partial(exchange.tell_over, plane, over)] if over is not None else []


def _arrived(proof: Proof, value: Mapping[str, Any], message: object) -> TextArrived | None:
    """A message of a contact; None for one that says nothing, such as a reaction."""
    attached = _attached(message)
    text, sender, number = _words(message), _of(message, "from"), _of(value, "metadata", "display_phone_number")
    message_id = _of(message, "id")
    if not ((text or attached) and isinstance(sender, str) and isinstance(message_id, str) and isinstance(number, str)):
        return None
    return TextArrived(
        channel="whatsapp",
        provider=whatsapp.PROVIDER,
        account=proof.account,
        is_installations=False,
        holders=tuple(proof.holders),
        provider_message_id=message_id[:MAX_ID_LENGTH],
        from_number=told.e164(sender),
        to_number=told.e164(number),
        text=text,
        at=datetime.now(UTC),
        attached=attached,
    )


def _attached(message: object) -> tuple[Attached, ...]:
    """The picture, recording or document that a message is; its id opens it at the Graph API."""
    kind = str(_of(message, "type") or "")
    found, reference, named = _of(message, kind), _of(message, kind, "id"), _of(message, kind, "filename")
    if kind not in _MEDIA or not isinstance(reference, str) or not 0 < len(reference) <= MAX_ID_LENGTH:
        return ()
    content_type = str(_of(found, "mime_type") or _MEDIA[kind]).partition(";")[0].strip()[:MAX_TYPE_LENGTH]
    name = named[:MAX_NAME_LENGTH] if isinstance(named, str) else ""
    is_voice = _of(found, "voice") is True
    return (Attached(content_type=content_type, reference=reference, name=name, is_voice=is_voice),)


def _place(message: object) -> str:
    """A place that the contact shares, in words."""
    where = _of(message, "location")
    if not isinstance(where, dict):
        return ""
    known = (_of(where, "name"), _of(where, "address"), _of(where, "latitude"), _of(where, "longitude"))
    return ", ".join(str(part) for part in known if isinstance(part, str | float | int) and part != "")


def _words(message: object) -> str:
    """What a message says: its text, the button or row that was chosen, a caption, or a place."""
    kind = str(_of(message, "type") or "")
    found = (
        _of(message, "text", "body"),
        _of(message, "button", "text"),
        _of(message, "interactive", "button_reply", "title"),
        _of(message, "interactive", "list_reply", "title"),
        _of(message, kind, "caption"),
        _place(message),
    )
    return next((words for words in found if isinstance(words, str) and words.strip()), "")


async def _note(plane: Plane, proof: Proof, status: object) -> None:
    """How a message of ours has come along, by our id if Meta gives it back, else by its own."""
    reference = str(_of(status, "biz_opaque_callback_data") or "")
    text_id = TextId(reference) if reference.startswith(f"{ids.TEXT}_") and len(reference) == 36 else None
    codes = [_of(error, "code") for error in _list(status, "errors")]
    code = next((code for code in codes if isinstance(code, int)), None)
    message_id, said = str(_of(status, "id") or "")[:MAX_ID_LENGTH], str(_of(status, "status") or "")
    try:
        await statuses.take(plane, proof, text_id, message_id, said, code)
    except ids.MalformedId:
        log.info("whatsapp.status_of_nothing", provider_message_id=message_id)


def _of(value: object, *path: str) -> Any:
    """What lies at a path of names; None where the shape is another one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _list(value: object, name: str) -> list[Any]:
    found = _of(value, name)
    return found if isinstance(found, list) else []
