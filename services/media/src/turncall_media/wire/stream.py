"""What a wire says of the stream that it opened."""

from msgspec import Struct


class StreamStart(Struct, frozen=True, kw_only=True):
    """The carrier's first word on a media socket: its own ids, and the parameters that our answer gave it."""

    provider_call_id: str
    stream_id: str
    account: str
    parameters: dict[str, str]
