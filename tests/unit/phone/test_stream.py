"""A media stream over a socket that the test plays."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMessage, WSMsgType

from turncall_phone import Call, mulaw
from turncall_phone.faults import FaultPlan, StreamFault
from turncall_phone.journal import Alert, Journal, StreamClosed, StreamMark
from turncall_phone.stream import MEDIA_BACKLOG, MediaStream, StreamPlan

SID = "MZ" + "0" * 32


class Socket:
    """The server's end: what was sent to it, and what it says."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.said: asyncio.Queue[WSMessage] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_closed = False

    async def send_str(self, data: str) -> None:
        await self.reads.wait()
        self.sent.append(json.loads(data))

    async def receive(self) -> WSMessage:
        return await self.said.get()

    async def close(self) -> bool:
        self.is_closed = True
        return True

    def get_extra_info(self, name: str) -> Any:
        raise LookupError(name)

    def say(self, event: str, /, stream_sid: str = SID, **fields: Any) -> None:
        """Send one message to the carrier."""
        self.say_text(json.dumps({"event": event, "streamSid": stream_sid, **fields}))

    def say_text(self, text: str) -> None:
        """Send any text to the carrier."""
        self.said.put_nowait(WSMessage(WSMsgType.TEXT, text, None))

    def play(self, samples: int) -> None:
        """Send so much loud audio."""
        payload = base64.b64encode(b"\x80" * samples).decode()
        self.say("media", media={"payload": payload})

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was sent of one kind."""
        return [message for message in self.sent if message["event"] == name]


class Stage:
    """A running stream, its socket and its call."""

    def __init__(self, call: Call, journal: Journal, *faults: StreamFault) -> None:
        self.call, self.journal, self.socket = call, journal, Socket()
        plan = StreamPlan(stream_sid=SID, url="ws://127.0.0.1/m", parameters=(("tok", "one"),))
        armed = FaultPlan(journal)
        for fault in faults:
            armed.add(fault)
        stream = MediaStream(self.socket, plan, call, journal, armed)
        self.task = asyncio.create_task(stream.run())

    async def settle(self) -> None:
        """Let messages pass."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def ticks(self, count: int) -> None:
        """Let `count` frames pass."""
        for _ in range(count):
            self.call.line.tick()
            await self.settle()

    def codes(self) -> list[int]:
        """The alerts so far."""
        return [alert.code for alert in self.journal.facts(Alert)]

    async def end(self) -> None:
        """Hang up."""
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def stage(call: Call, journal: Journal) -> Stage:
    """A stream that has just started."""
    running = Stage(call, journal)
    await running.settle()
    return running


async def test_a_stream_speaks_the_protocol_from_connected_to_stop(stage: Stage) -> None:
    """Order, counters as strings, timestamps of 20 ms and the parameters are as documented."""
    await stage.ticks(2)
    stage.call.press("7")
    await stage.settle()
    await stage.end()

    connected, start, one, two, dtmf, stop = stage.socket.sent
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"] == {
        "accountSid": stage.call.account.sid,
        "streamSid": SID,
        "callSid": stage.call.sid,
        "customParameters": {"tok": "one"},
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    assert [m["sequenceNumber"] for m in (start, one, two, dtmf, stop)] == ["1", "2", "3", "4", "5"]
    assert (one["media"]["chunk"], one["media"]["timestamp"], one["media"]["track"]) == ("1", "0", "inbound")
    assert (two["media"]["chunk"], two["media"]["timestamp"]) == ("2", "20")
    assert base64.b64decode(one["media"]["payload"]) == b"\xff" * 160
    assert dtmf["dtmf"] == {"digit": "7", "track": "inbound_track"}
    assert stop["stop"] == {"accountSid": stage.call.account.sid, "callSid": stage.call.sid}
    assert stage.socket.is_closed


async def test_marks_come_back_when_heard_at_once_or_cleared(stage: Stage) -> None:
    """An idle mark returns at once, one behind audio when it was heard, the rest on clear."""
    stage.socket.say("mark", mark={"name": "idle"})
    stage.socket.play(160)
    stage.socket.say("mark", mark={"name": "heard"})
    stage.socket.play(8000)
    stage.socket.say("mark", mark={"name": "cut"})
    await stage.settle()
    await stage.ticks(2)
    stage.socket.say("clear")
    await stage.settle()
    await stage.ticks(2)
    await stage.end()

    assert [m["mark"]["name"] for m in stage.socket.events("mark")] == ["idle", "heard", "cut"]
    events = [(m.name, m.event) for m in stage.journal.facts(StreamMark) if m.event != "received"]
    assert events == [("idle", "played"), ("heard", "played"), ("cut", "cleared")]
    heard = np.frombuffer(stage.call.heard, np.int16)
    assert np.count_nonzero(heard) == 320
    assert heard.max() == mulaw.decode(b"\x80")[0]


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"event":"hello","streamSid":"x"}',
        json.dumps({"event": "media", "streamSid": SID}),
        json.dumps({"event": "media", "streamSid": SID, "media": {"payload": "AAAA"}, "extra": 1}),
        json.dumps({"event": "media", "streamSid": SID, "media": {"payload": "A*A"}}),
        json.dumps({"event": "clear", "streamSid": "MZ" + "1" * 32}),
    ],
)
async def test_a_bad_message_is_alerted_once_and_the_stream_goes_on(stage: Stage, text: str) -> None:
    """31951 once per stream, however many follow; what is good still plays."""
    stage.socket.say_text(text)
    stage.socket.say_text(text)
    stage.socket.play(160)
    await stage.settle()
    await stage.ticks(1)
    await stage.end()

    assert stage.codes() == [31951]
    assert np.frombuffer(stage.call.heard, np.int16).any()


async def test_a_binary_frame_has_its_own_alert(stage: Stage) -> None:
    """31950, once."""
    for _ in range(2):
        stage.socket.said.put_nowait(WSMessage(WSMsgType.BINARY, b"\x00", None))
    await stage.settle()
    await stage.end()

    assert stage.codes() == [31950]


async def test_playback_beyond_ten_minutes_is_dropped(stage: Stage) -> None:
    """31931 once; what was queued before stays."""
    for _ in range(11):
        stage.socket.play(60 * 8000)
    await stage.settle()
    assert stage.codes() == [31931]
    stage.socket.say("clear")
    await stage.settle()
    await stage.end()

    (closed,) = stage.journal.facts(StreamClosed)
    assert closed.audio_received_ms == 11 * 60_000


async def test_a_reader_that_stops_loses_caller_audio_but_no_marks(stage: Stage) -> None:
    """31930 once; the timestamps show the hole, and a mark still gets through."""
    stage.socket.reads.clear()
    await stage.ticks(MEDIA_BACKLOG + 30)
    stage.socket.say("mark", mark={"name": "kept"})
    await stage.settle()
    stage.socket.reads.set()
    await stage.settle()
    await stage.ticks(1)
    await stage.end()

    assert stage.codes() == [31930]
    (closed,) = stage.journal.facts(StreamClosed)
    assert closed.frames_dropped + closed.frames_sent == MEDIA_BACKLOG + 31
    assert closed.frames_dropped >= 28
    last = stage.socket.events("media")[-1]["media"]
    assert int(last["timestamp"]) == (MEDIA_BACKLOG + 30) * 20
    assert [m["mark"]["name"] for m in stage.socket.events("mark")] == ["kept"]


@pytest.mark.parametrize(
    ("message", "by", "code"),
    [
        (WSMessage(WSMsgType.CLOSE, 1000, ""), "peer", 31921),
        (WSMessage(WSMsgType.CLOSED, None, None), "loss", 31903),
        (WSMessage(WSMsgType.ERROR, None, None), "loss", 31924),
    ],
)
async def test_how_a_socket_ends_is_told_apart(stage: Stage, message: WSMessage, by: str, code: int) -> None:
    """A close frame, a broken connection and a broken protocol each have their code; none of them gets a stop."""
    stage.socket.said.put_nowait(message)

    assert await stage.task == by
    assert stage.codes() == [code]
    assert stage.socket.events("stop") == []


async def test_a_frozen_stream_carries_nothing_either_way_until_it_thaws(call: Call, journal: Journal) -> None:
    """No frame goes out and none is taken in for 100 ms; the audio that came meanwhile plays afterwards."""
    stage = Stage(call, journal, StreamFault(effect="freeze", at_ms=40, for_ms=100))
    await stage.settle()
    await stage.ticks(2)
    stage.socket.play(160)
    await stage.ticks(5)
    sent_frozen, heard_frozen = len(stage.socket.events("media")), any(call.heard)
    await stage.ticks(3)
    await stage.end()

    assert (sent_frozen, heard_frozen) == (2, False)
    assert [m["media"]["timestamp"] for m in stage.socket.events("media")] == ["0", "20", "140", "160", "180"]
    assert any(call.heard)
    assert stage.codes() == []
