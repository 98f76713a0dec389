"""The JSON of a media socket: what the carrier sends, and what it accepts."""

import binascii

import msgspec


class _ToPeer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="event"):
    """A message from the carrier; numbers in it are strings."""


class Connected(_ToPeer, frozen=True, kw_only=True, tag="connected"):
    """The first message."""

    protocol: str = "Call"
    version: str = "1.0.0"


class MediaFormat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The audio of both directions; these two are numbers."""

    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8000
    channels: int = 1


class StartBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `start` tells about the stream."""

    account_sid: str
    stream_sid: str
    call_sid: str
    custom_parameters: dict[str, str]
    tracks: tuple[str, ...] = ("inbound",)
    media_format: MediaFormat = MediaFormat()


class Start(_ToPeer, frozen=True, kw_only=True, tag="start"):
    """The second message."""

    sequence_number: str
    stream_sid: str
    start: StartBody


class MediaBody(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk of the caller's audio."""

    chunk: str
    timestamp: str
    payload: str
    track: str = "inbound"


class Media(_ToPeer, frozen=True, kw_only=True, tag="media"):
    """The caller's audio."""

    sequence_number: str
    stream_sid: str
    media: MediaBody


class DtmfBody(msgspec.Struct, frozen=True, kw_only=True):
    """One key; its track is spelled unlike that of media."""

    digit: str
    track: str = "inbound_track"


class Dtmf(_ToPeer, frozen=True, kw_only=True, tag="dtmf"):
    """A key was pressed."""

    sequence_number: str
    stream_sid: str
    dtmf: DtmfBody


class MarkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mark, in either direction."""

    name: str


class MarkBack(_ToPeer, frozen=True, kw_only=True, tag="mark"):
    """A mark was played, or cleared."""

    sequence_number: str
    stream_sid: str
    mark: MarkBody


class StopBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `stop` tells."""

    account_sid: str
    call_sid: str


class Stop(_ToPeer, frozen=True, kw_only=True, tag="stop"):
    """The last message."""

    sequence_number: str
    stream_sid: str
    stop: StopBody


class FromPeer(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", forbid_unknown_fields=True
):
    """A message to the carrier; a missing, extra or mistyped field makes it invalid (31951)."""

    stream_sid: str


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base64 of raw mu-law at 8 kHz, of any length."""

    payload: str

    def codes(self) -> bytes:
        """The mu-law bytes; raises ValueError when they are not base64."""
        return binascii.a2b_base64(self.payload, strict_mode=True)


class PlayMedia(FromPeer, frozen=True, kw_only=True, tag="media"):
    """Audio to queue."""

    media: Payload


class SetMark(FromPeer, frozen=True, kw_only=True, tag="mark"):
    """A mark to set behind what is queued."""

    mark: MarkBody


class Clear(FromPeer, frozen=True, kw_only=True, tag="clear"):
    """Drop what is queued."""


type AnyFromPeer = PlayMedia | SetMark | Clear

_decoder: msgspec.json.Decoder[AnyFromPeer] = msgspec.json.Decoder(PlayMedia | SetMark | Clear)


def parse(text: str) -> AnyFromPeer:
    """The message in `text`; raises msgspec.DecodeError (its ValidationError included)."""
    return _decoder.decode(text)
