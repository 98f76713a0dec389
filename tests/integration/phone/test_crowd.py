"""A crowd on real media sockets."""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from turncall_phone import mulaw
from turncall_phone.crowd import Crowd, NotConnected, words

SAID = (3000 * np.sin(np.arange(1600))).astype(np.int16)  # 200 ms
REPLY = b"\x10" * 1600
WITHIN_S = 30.0


class Agent:
    """Greets nobody, answers each utterance with one sound and a mark; keeps what it is sent by stream."""

    def __init__(self) -> None:
        self.heard: dict[str, list[bytes]] = defaultdict(list)
        self.timestamps: dict[str, list[int]] = defaultdict(list)
        self.marks: dict[str, list[str]] = defaultdict(list)
        self.ends: dict[str, list[str]] = defaultdict(list)

    async def serve(self, socket: ServerConnection) -> None:
        """One stream."""
        stream, was_speaking = "", False
        async for text in socket:
            message = msgspec.json.decode(text)
            stream = message.get("streamSid", stream)
            match message["event"]:
                case "media":
                    codes = base64.b64decode(message["media"]["payload"])
                    self.heard[stream].append(codes)
                    self.timestamps[stream].append(int(message["media"]["timestamp"]))
                    is_speaking = bool(set(codes) - {mulaw.SILENCE})
                    if was_speaking and not is_speaking:
                        media = {"payload": base64.b64encode(REPLY).decode()}
                        await socket.send(self.written("media", stream, media=media))
                        await socket.send(self.written("mark", stream, mark={"name": "replied"}))
                    was_speaking = is_speaking
                case "mark":
                    self.marks[stream].append(message["mark"]["name"])
                case "stop":
                    self.ends[stream].append(message["stop"]["callSid"])

    @staticmethod
    def written(event: str, stream: str, **body: object) -> str:
        """A message to the carrier."""
        return msgspec.json.encode({"event": event, "streamSid": stream, **body}).decode()


async def until(holds: Callable[[], bool]) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - what a server was sent has no event
            await asyncio.sleep(0.02)


async def test_callers_speak_in_turn_hear_answers_and_take_leave() -> None:
    """Each caller sends every 20 ms, says the words whole, has its answers counted as turns, returns marks, and ends
    with ``stop``."""
    agent = Agent()
    async with (
        serve(agent.serve, "127.0.0.1", 0) as server,
        Crowd("AC1", words(SAID, every_s=0.8, listens_s=0.1)) as crowd,
    ):
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/media"
        first, second = [await crowd.join(url, f"CA{number}") for number in (1, 2)]
        await until(lambda: all(len([t for t in caller.turns() if t.answered_s]) >= 2 for caller in (first, second)))

        told = mulaw.encode(SAID)
        for stream in ("MZ1", "MZ2"):
            sent = list(agent.heard[stream])
            assert all(len(frame) == 160 for frame in sent)
            assert agent.timestamps[stream][: len(sent)] == [20 * number for number in range(len(sent))]
            assert told in b"".join(sent)
        turn = first.turns()[0]
        assert turn.answered_s is not None
        assert turn.answered_s > turn.ended_s
        assert bytes(first.handset.utterances[0].codes) == REPLY
        assert first.turns()[0].ended_s < second.turns()[0].ended_s  # each at a time of its own
        await until(lambda: "replied" in agent.marks["MZ1"])
        assert list(crowd.members) == [first, second]
        await crowd.leave()
        assert first.is_over.is_set()
    assert agent.ends == {"MZ1": ["CA1"], "MZ2": ["CA2"]}


async def test_a_refused_socket_is_told() -> None:
    """Whoever is not let in is not a member, and the reason is told."""

    def refuse(connection: ServerConnection, _: object) -> object:
        return connection.respond(403, "no\n")

    async with (
        serve(Agent().serve, "127.0.0.1", 0, process_request=refuse) as server,
        Crowd("AC1", words(SAID, every_s=0.8, listens_s=0.1)) as crowd,
    ):
        with pytest.raises(NotConnected, match="403"):
            await crowd.join(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/media", "CA1")
        assert not crowd.members
