"""Bytes on the bus: JSON by msgspec, one encoder, typed decoders, and room for tags from a newer release."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from turncall_proto.command import AnyCommand
from turncall_proto.events import CallEvent, Event
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.marks import Instant
from turncall_proto.subjects import MAX_MESSAGE_BYTES
from turncall_proto.webrtc import Told

_encoder: Final = msgspec.json.Encoder()
_command_decoder: Final[msgspec.json.Decoder[AnyCommand]] = msgspec.json.Decoder(AnyCommand)
_exchange_decoder: Final[msgspec.json.Decoder[Told]] = msgspec.json.Decoder(Told)
_event_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)


class UnknownEvent(CallEvent, frozen=True, kw_only=True):
    """A fact whose tag this release does not know. It is acknowledged, counted and kept as it came."""

    tag: str
    raw: bytes


class MalformedMessage(ValueError):
    """The bytes are not a message of the contract; the message says which field broke it."""


class TooLarge(ValueError):
    """The message is over the limit of the bus and belongs in the object store."""


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON. Raises `TooLarge` above `MAX_MESSAGE_BYTES`."""
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"{type(message).__name__} is {len(data)} bytes; the bus carries {MAX_MESSAGE_BYTES}")
    return data


def decode[T](data: bytes, kind: type[T]) -> T:
    """A message of a known kind. Raises `MalformedMessage`; fields from a newer release are ignored."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"{kind.__name__}: {error}") from error


def decode_command(data: bytes) -> AnyCommand:
    """A command to a live call. Raises `MalformedMessage`, also for one that this release does not know."""
    try:
        return _command_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"command: {error}") from error


def decode_exchange(data: bytes) -> Told:
    """What a worker is told of a call's sound. Raises `MalformedMessage`."""
    try:
        return _exchange_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"exchange: {error}") from error


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    call_id: CallId
    project_id: ProjectId
    epoch: Annotated[int, Meta(ge=0)]
    seq: Annotated[int, Meta(ge=1)]
    at: Instant


_header_decoder: Final = msgspec.json.Decoder(_Header)
_KNOWN_TAGS: Final = frozenset(kind.__struct_config__.tag for kind in Event.__args__)


def decode_event(data: bytes) -> Event | UnknownEvent:
    """A fact, or an `UnknownEvent` when only its tag is strange. Raises `MalformedMessage` for anything else."""
    try:
        return _event_decoder.decode(data)
    except msgspec.DecodeError as error:
        try:
            header = _header_decoder.decode(data)
        except msgspec.DecodeError:
            raise MalformedMessage(f"event: {error}") from error
        if header.type in _KNOWN_TAGS:
            raise MalformedMessage(f"event {header.type}: {error}") from error
        return UnknownEvent(
            call_id=header.call_id,
            project_id=header.project_id,
            epoch=header.epoch,
            seq=header.seq,
            at=header.at,
            tag=header.type,
            raw=data,
        )
