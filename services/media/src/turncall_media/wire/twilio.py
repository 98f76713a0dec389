"""Twilio Media Streams: JSON text frames, base64 mu-law at 8 kHz, both ways."""

from turncall_media.seams import MediaSocket
from turncall_media.wire.stream import StreamStart


class TwilioWire:
    """One bidirectional stream of one call."""

    def __init__(self, socket: MediaSocket) -> None:
        self._socket = socket

    async def open(self, timeout_s: float) -> StreamStart:
        """Waits for ``connected`` and ``start``. Raises `WireError` when they do not come in time or make no sense."""
        raise NotImplementedError
