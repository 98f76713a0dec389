"""What a contact wrote, on its way from a carrier's webhook into a session: kept by the stream until it is stored."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_proto.ids import ProjectId
from turncall_proto.marks import PERSONAL, Instant, PhoneNumber, Speech


class Attached(Struct, frozen=True, kw_only=True):
    """Something that came with a message, at the carrier still: ``reference`` is its address or its id there."""

    content_type: Annotated[str, Meta(max_length=128)]
    reference: Annotated[str, Meta(max_length=2048)]
    name: Annotated[str, Meta(max_length=256), PERSONAL] = ""
    is_voice: bool = False


class TextArrived(Struct, frozen=True, kw_only=True, tag_field="type", tag="text.arrived"):
    """A message to a number of ours. A repeat, known by the carrier's id of it, changes nothing.

    ``account`` is the carrier's, whose secret signed the webhook: the installation's, or that of ``holders``, who count
    for themselves alone.
    """

    channel: Literal["sms", "whatsapp"]
    provider: str
    account: str
    is_installations: bool
    holders: tuple[ProjectId, ...]
    provider_message_id: Annotated[str, Meta(min_length=1, max_length=256)]
    from_number: PhoneNumber
    to_number: PhoneNumber
    text: Speech
    at: Instant
    attached: tuple[Attached, ...] = ()
