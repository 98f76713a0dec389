"""What the API kept of a call, read back and held against what must be there."""

import asyncio
import io
import wave
from contextlib import suppress
from statistics import median
from typing import Any, Final

from msgspec import Struct

from turncall.client import TurnCall
from turncall.client.shapes import CallView, StoredFact, ToolUse, Turn, Utterance
from turncall_proto.call import CallState
from turncall_proto.ids import CallId

SHORTEST_RECORDING_S: Final = 5.0
RECORDING_WITHIN_S: Final = 30.0


class Recording(Struct, frozen=True, kw_only=True):
    """The recording as it was downloaded."""

    size_bytes: int
    duration_s: float
    rate_hz: int
    channels: int


class Record(Struct, frozen=True, kw_only=True):
    """Everything that a user can ask about a call."""

    call: CallView
    utterances: tuple[Utterance, ...]
    tools: tuple[ToolUse, ...]
    turns: tuple[Turn, ...]
    facts: tuple[StoredFact, ...]
    recording: Recording

    @property
    def reply_ms(self) -> int:
        """The median of what the caller waited for a reply; 0 without one."""
        return round(median(turn.reply_ms for turn in self.turns)) if self.turns else 0


async def read_record(api: TurnCall, call_id: CallId) -> Record:
    """The record of a recorded call that is over. Raises `ApiError`, `Unreachable`.

    The recording may be stored a moment after the call has ended; it is waited for.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(RECORDING_WITHIN_S):
            while not await _is_recorded(api, call_id):  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(0.2)
    return Record(
        call=await api.call(call_id),
        utterances=(await api.transcript(call_id)).utterances,
        tools=(await api.tools(call_id)).tools,
        turns=(await api.turns(call_id)).turns,
        facts=await every_fact(api, call_id),
        recording=measured(await api.recording(call_id)),
    )


async def _is_recorded(api: TurnCall, call_id: CallId) -> bool:
    return any(fact.type == "recording.ready" for fact in await every_fact(api, call_id))


async def every_fact(api: TurnCall, call_id: CallId) -> tuple[StoredFact, ...]:
    """All facts of a call, internal ones included, oldest first."""
    facts: list[StoredFact] = []
    cursor: str | None = None
    while True:
        page = await api.events(call_id, cursor=cursor, internal=True)
        facts += page.items
        cursor = page.next_cursor
        if cursor is None:
            return tuple(facts)


def measured(content: bytes) -> Recording:
    """The measures of a WAV file. Raises `wave.Error` when it is none."""
    with wave.open(io.BytesIO(content)) as audio:
        return Recording(
            size_bytes=len(content),
            duration_s=audio.getnframes() / audio.getframerate(),
            rate_hz=audio.getframerate(),
            channels=audio.getnchannels(),
        )


def holes(facts: tuple[StoredFact, ...]) -> list[str]:
    """Numbers that are missing or doubled within an epoch or in the order of the call; empty when all is well."""
    faults = _gaps("call_seq", [fact.call_seq for fact in facts])
    for epoch in sorted({fact.epoch for fact in facts}):
        faults += _gaps(f"epoch {epoch}", sorted(fact.seq for fact in facts if fact.epoch == epoch))
    return faults


def _gaps(name: str, numbers: list[int]) -> list[str]:
    return [] if numbers == list(range(1, len(numbers) + 1)) else [f"{name} runs {numbers}"]


def shortcomings(record: Record) -> list[str]:
    """What the record of the demonstration lacks, a sentence each; empty when it is complete."""
    facts = {fact.type for fact in record.facts}
    booked = [use for use in record.tools if use.tool == "book_appointment"]
    expected: list[tuple[bool, Any]] = [
        (record.call.status is CallState.COMPLETED, f"the call is {record.call.status}, not completed"),
        (record.call.ended_reason == "assistant_ended_call", f"it ended for {record.call.ended_reason}"),
        (len([u for u in record.utterances if u.speaker == "caller"]) >= 4, "the caller's words are missing"),
        (len([u for u in record.utterances if u.speaker == "agent"]) >= 4, "the agent's words are missing"),
        (len(booked) == 1 and booked[0].is_ok is True, "the appointment was not booked exactly once"),
        (len(record.turns) >= 4, "the turns were not measured"),
        (record.recording.channels == 2, "the recording is not stereo"),
        (record.recording.duration_s >= SHORTEST_RECORDING_S, "the recording is too short"),
        (
            {"call.initializing", "call.answered", "call.started", "call.ended"} <= facts,
            "facts of the call are missing",
        ),
        (record.call.missing_events == 0, f"{record.call.missing_events} facts were lost"),
    ]
    return [sentence for holds, sentence in expected if not holds] + holes(record.facts)
