"""The demonstration: a spoken caller phones the receptionist, and the record is read back."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from turncall.client import ApiError, TurnCall, Unreachable
from turncall.client.shapes import CallView, StoredFact
from turncall.demo.desk import desk_at_work
from turncall.demo.patient import Patient
from turncall.demo.provision import Provisioned, provisioned
from turncall.demo.record import Record, read_record, shortcomings
from turncall.local import CALLER, State, running
from turncall_phone.caller import Say
from turncall_phone.client import CarrierClient, RemoteCall

CALL_APPEARS_S: Final = 10.0
CALL_LASTS_S: Final = 180.0
PATIENCE_S: Final = 30.0
"""For how long a server may be away in the middle of the demonstration."""
ASK_AGAIN_S: Final = 0.3
UTTERANCES: Final = ("book", "day", "time", "hours", "goodbye")
"""The caller's recordings in the order of the conversation, in ``caller/``."""

Tell = Callable[[str], None]


async def demonstrate(folder: Path, tell: Tell) -> int:
    """Starts everything, places the call and shows it; 0 when the record is complete, 1 when it is not."""
    async with running(folder, tell) as local, desk_at_work() as (desk, tool_url):
        made = await provisioned(folder, local.state, tool_url)
        desk.trust(made.signing_secret)
        tell(f"agent     Receptionist, version {made.version.number}, answers {made.number.e164}\n")
        async with TurnCall(local.state.control_url, key=made.api_key) as api:
            record = await _call(api, local.state, made, tell)
        missing = shortcomings(record)
        _show(record, tell)
        for sentence in missing:
            tell(f"MISSING: {sentence}")
        return 1 if missing else 0


async def _call(api: TurnCall, state: State, made: Provisioned, tell: Tell) -> Record:
    with as_file(files("turncall.demo").joinpath("caller")) as recordings:
        async with CarrierClient(state.phone_url) as carrier:
            remote = await carrier.dial(to=made.number.e164, from_=CALLER)
            patient = Patient(lambda name: remote.say(Say(wav=str(recordings / f"{name}.wav"))))
            call = await appeared(api, remote)
            async with asyncio.timeout(CALL_LASTS_S), patient.listening():
                await show_conversation(api, call, tell, patient.hear)
    return await patiently(lambda: read_record(api, call.id))


async def ignored(_: StoredFact) -> None:
    """Whoever only listens in."""


async def appeared(api: TurnCall, remote: RemoteCall) -> CallView:
    """The call that the carrier announced, as the API shows it. Raises `TimeoutError` when it does not come."""
    async with asyncio.timeout(CALL_APPEARS_S):
        while True:
            for call in (await patiently(lambda: api.calls(limit=10))).items:
                if call.provider_call_id == remote.sid:
                    return call
            await asyncio.sleep(0.05)


async def show_conversation(
    api: TurnCall, call: CallView, tell: Tell, hear: Callable[[StoredFact], Awaitable[None]] = ignored
) -> None:
    """Tells what is said as it is said, with the wait before each reply, until the call has ended; ``hear`` answers.

    A feed that breaks off, because a server is away, is gone on with behind the last fact.
    """
    seen, is_over = 0, False

    async def follow() -> None:
        nonlocal seen, is_over
        async for fact in api.follow(call.id, internal=True, after=seen):
            seen, is_over = fact.call_seq, fact.type == "call.ended"
            line = described(fact)
            if line:
                tell(f"{_clock(fact.at, call.created_at)}  {line}")
            await hear(fact)

    while not is_over:
        await patiently(follow)


async def patiently[T](ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request that is made again, for `PATIENCE_S`, while the control plane cannot answer it.

    Raises `ApiError` and `Unreachable`.
    """
    until_s = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await ask()
        except (ApiError, Unreachable) as error:
            is_final = isinstance(error, ApiError) and error.problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
            if is_final or asyncio.get_running_loop().time() > until_s:
                raise
        await asyncio.sleep(ASK_AGAIN_S)


def described(fact: StoredFact) -> str:
    """One line about a fact for a person who listens in; empty for the rest."""
    data = fact.data
    match fact.type:
        case "transcript.final":
            cut = "  (interrupted)" if data.get("is_interrupted") else ""
            return f"{data['speaker']:<7} {data['text']}{cut}"
        case "turn.measured":
            return f"        replied {data['reply_ms']} ms after the caller's last word"
        case "tool.called":
            arguments = ", ".join(f"{name}={value}" for name, value in data["arguments"].items())
            return f"        {data['tool']}({arguments})"
        case "tool.result":
            return f"        {'ok' if data['is_ok'] else 'failed'} after {data['latency_ms']} ms"
        case "call.answered":
            return "* answered"
        case "call.ended":
            return f"* ended: {data['reason']}"
        case _:
            return ""


def _clock(at: datetime, since: datetime) -> str:
    passed_s = max(0.0, (at - since).total_seconds())
    return f"{int(passed_s // 60):2}:{passed_s % 60:04.1f}"


def _show(record: Record, tell: Tell) -> None:
    call, recording = record.call, record.recording
    seconds = (call.duration_ms or 0) / 1000
    tell(f"\nrecord    GET /v1/calls/{call.id}")
    tell(f"  status        {call.status}, {call.ended_reason}, {seconds:.1f} s")
    tell(f"  transcript    {len(record.utterances)} utterances")
    for use in record.tools:
        tell(f"  tool          {use.tool}: {'ok' if use.is_ok else 'failed'}, {use.latency_ms} ms")
    tell(f"  turns         {len(record.turns)} measured, reply median {record.reply_ms} ms")
    tell(f"  recording     {recording.channels} channels, {recording.rate_hz} Hz, {recording.duration_s:.1f} s")
    tell(f"  facts         {len(record.facts)}, {call.missing_events} missing")
