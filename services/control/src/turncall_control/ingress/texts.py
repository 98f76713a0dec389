"""/webhooks/twilio/sms: what Twilio brings of messages: those that people wrote, and how ours have come along.

A message is answered with an empty document at once: what the agent says is sent by request.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from turncall_control.carriers import twilio, twiml
from turncall_control.ingress.signed import OPT, asked_by, number_in
from turncall_control.messaging import arrivals, attachments
from turncall_control.plane import Plane
from turncall_control.texts import statuses
from turncall_proto import ids
from turncall_proto.arrival import Attached, TextArrived
from turncall_proto.ids import TextId
from turncall_runtime import logs

MAX_ID_LENGTH: Final = 64
MAX_URL_LENGTH: Final = 2048
MAX_TYPE_LENGTH: Final = 128

log = logs.logger(__name__)


@post("/webhooks/twilio/sms/inbound", status_code=200, opt=OPT, include_in_schema=False)
async def take_text(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """Somebody wrote to a number of ours; after a failure of ours Twilio brings it again, a few times within 15 s."""
    asked = await asked_by(request, plane)
    form = asked.form
    arrived = TextArrived(
        channel="sms",
        provider=twilio.PROVIDER,
        account=asked.proof.account,
        is_installations=asked.proof.is_installations,
        holders=tuple(sorted(asked.proof.holders)),
        provider_message_id=form.get("MessageSid", "")[:MAX_ID_LENGTH],
        from_number=form.get("From", "")[:MAX_ID_LENGTH],
        to_number=form.get("To", "")[:MAX_ID_LENGTH],
        text=form.get("Body", ""),
        at=datetime.now(UTC),
        attached=tuple(_attached(form)),
    )
    if not arrived.provider_message_id or not arrived.from_number:
        log.warning("text.nobodys", account=arrived.account)
        return Response(twiml.NOTHING, media_type="text/xml")
    try:
        await arrivals.bring(plane, arrived)
    except Exception as error:  # a request boundary: the sender reads nothing but the status
        log.error("text.not_taken", provider_message_id=arrived.provider_message_id, exc_info=error)
        return Response(twiml.NOTHING, status_code=503, media_type="text/xml")
    return Response(twiml.NOTHING, media_type="text/xml")


def _attached(form: Mapping[str, str]) -> Iterator[Attached]:
    """The pictures and recordings of an MMS."""
    for index in range(min(number_in(form.get("NumMedia")) or 0, attachments.MOST)):
        url = form.get(f"MediaUrl{index}", "")
        if 0 < len(url) <= MAX_URL_LENGTH:
            kind = form.get(f"MediaContentType{index}", "")[:MAX_TYPE_LENGTH]
            yield Attached(content_type=kind or "application/octet-stream", reference=url)


@post("/webhooks/twilio/sms/status/{text_id:str}", status_code=200, opt=OPT, include_in_schema=False)
async def take_text_status(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], text_id: FromPath[str]
) -> Response[str]:
    """Twilio says how a message of ours has come along."""
    asked = await asked_by(request, plane)
    ids.parsed(ids.TEXT, text_id)
    form = asked.form
    try:
        await statuses.take(
            plane,
            asked.proof,
            TextId(text_id),
            form.get("MessageSid", "")[:MAX_ID_LENGTH],
            form.get("MessageStatus", ""),
            number_in(form.get("ErrorCode")),
        )
    except Exception as error:  # a request boundary: the sender reads nothing but the status
        log.error("text.status_lost", text_id=text_id, exc_info=error)
        return Response("", status_code=503, media_type="text/xml")
    return Response("", status_code=204)
