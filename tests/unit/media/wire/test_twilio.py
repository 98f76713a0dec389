"""Twilio's dialect, both ways."""

import asyncio
import base64
import json
from typing import Any

import pytest

from turncall_media.errors import WireError
from turncall_media.seams import SocketClosed
from turncall_media.wire.stream import CallerAudio, KeyPressed, MarkReturned, StreamStopped
from turncall_media.wire.twilio import BABBLE_LIMIT, TwilioWire

STREAM = "MZ" + "4" * 32
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}


def a_start(**changes: Any) -> dict[str, Any]:
    """The start message of Twilio's own documentation."""
    start = {
        "accountSid": "AC55",
        "streamSid": STREAM,
        "callSid": "CA7d",
        "tracks": ["inbound"],
        "mediaFormat": FORMAT,
        "customParameters": {"session": "s_123"},
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": STREAM, "start": start | changes}


def a_media(payload: bytes = b"\xff", stream: str = STREAM, timestamp: str = "40") -> dict[str, Any]:
    """Audio, its numbers as strings."""
    media = {"track": "inbound", "chunk": "2", "timestamp": timestamp, "payload": base64.b64encode(payload).decode()}
    return {"event": "media", "sequenceNumber": "4", "streamSid": stream, "media": media}


class Socket:
    """Gives the frames it was made with, then closes; remembers what was sent."""

    def __init__(self, *frames: dict[str, Any] | str) -> None:
        self._frames = [frame if isinstance(frame, str) else json.dumps(frame) for frame in frames]
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> str:
        if not self._frames:
            raise SocketClosed(1006)
        return self._frames.pop(0)

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None: ...


async def opened(*frames: dict[str, Any] | str) -> tuple[TwilioWire, Socket]:
    """A wire behind its start message."""
    socket = Socket(CONNECTED, a_start(), *frames)
    wire = TwilioWire(socket)
    await wire.open(1.0)
    return wire, socket


async def test_start_names_the_call() -> None:
    """The carrier's ids and the parameters of our answer come out of the start message."""
    wire = TwilioWire(Socket(CONNECTED, a_start()))
    start = await wire.open(1.0)
    assert start.provider_call_id == "CA7d"


@pytest.mark.parametrize(
    "frames",
    [
        (),
        (CONNECTED,),
        (CONNECTED, a_media()),
        (CONNECTED, a_start(mediaFormat=FORMAT | {"sampleRate": 16000})),
        (CONNECTED, a_start(mediaFormat=FORMAT | {"encoding": "audio/l16"})),
    ],
)
async def test_stream_that_does_not_begin_is_refused(frames: tuple[dict[str, Any], ...]) -> None:
    """A closed socket, audio before the start and another codec are the carrier's error, told as such."""
    with pytest.raises(WireError):
        await TwilioWire(Socket(*frames)).open(1.0)


async def test_silent_peer_is_not_waited_for() -> None:
    """A socket that says nothing is given up in time."""

    class Mute(Socket):
        async def receive(self) -> str:
            return await asyncio.Future()

    with pytest.raises(WireError, match=r"within 0\.01 s"):
        await TwilioWire(Mute()).open(0.01)


async def test_events_come_in_order() -> None:
    """Audio, keys, marks and the end are each one event, in the order sent."""
    wire, _ = await opened(
        a_media(b"\x80\xff"),
        {"event": "dtmf", "streamSid": STREAM, "dtmf": {"track": "inbound_track", "digit": "#"}},
        {"event": "mark", "streamSid": STREAM, "mark": {"name": "m1"}},
        {"event": "stop", "streamSid": STREAM, "stop": {"callSid": "CA7d"}},
    )
    events = [await wire.receive() for _ in range(4)]
    assert events == [
        CallerAudio(40, (32124).to_bytes(2, "little") + b"\0\0"),
        KeyPressed("#"),
        MarkReturned("m1"),
        StreamStopped(),
    ]


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "{",
        "null",
        "[" * 5000,
        '{"event":"media"}',
        '{"event":"surprise","streamSid":"MZ"}',
        json.dumps(a_media(stream="MZother")),
        json.dumps(a_media(b"")),
        json.dumps(a_media(timestamp="-20")),
        json.dumps(a_media(timestamp="soon")),
        json.dumps(a_media()).replace('"payload": "', '"payload": "!'),
        json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "12"}}),
        json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "e"}}),
        json.dumps(a_start()),
    ],
)
async def test_garbage_is_counted_and_survived(garbage: str) -> None:
    """A frame that makes no sense changes nothing but a counter."""
    wire, _ = await opened(garbage, a_media())
    assert await wire.receive() == CallerAudio(40, b"\0\0")
    assert wire.garbage_frames == 1


async def test_peer_that_only_babbles_is_left() -> None:
    """A second's worth of garbage in a row is no carrier; garbage between good frames goes on for ever."""
    mixed = [frame for _ in range(3 * BABBLE_LIMIT) for frame in ("{", a_media())]
    wire, _ = await opened(*mixed, *["{"] * (BABBLE_LIMIT + 1))
    for _ in range(3 * BABBLE_LIMIT):
        await wire.receive()
    with pytest.raises(WireError, match="51 senseless frames"):
        await wire.receive()


async def test_what_is_sent_is_what_twilio_documents() -> None:
    """Media, mark and clear, with our stream's id and nothing else in them."""
    wire, socket = await opened()
    await wire.play((32124).to_bytes(2, "little") * 2)
    await wire.mark('a "quoted" name')
    await wire.clear()
    assert socket.sent == [
        {"event": "media", "streamSid": STREAM, "media": {"payload": base64.b64encode(b"\x80\x80").decode()}},
        {"event": "mark", "streamSid": STREAM, "mark": {"name": 'a "quoted" name'}},
        {"event": "clear", "streamSid": STREAM},
    ]


async def test_another_conversation_takes_the_stream() -> None:
    """Times count from where the one before stopped listening, and its marks are not taken for those of the new one."""
    marks = [{"event": "mark", "streamSid": STREAM, "mark": {"name": name}} for name in ("m1", "102.m1")]
    wire, socket = await opened(a_media(b"\xff" * 16, timestamp="100"), marks[0], a_media(timestamp="120"), marks[1])
    assert await wire.receive() == CallerAudio(100, b"\0\0" * 16)
    wire.begin_again()
    await wire.mark("m1")
    assert socket.sent[-1]["mark"] == {"name": "102.m1"}
    returned = [await wire.receive() for _ in range(3)]
    assert returned == [MarkReturned(""), CallerAudio(18, b"\0\0"), MarkReturned("m1")]
