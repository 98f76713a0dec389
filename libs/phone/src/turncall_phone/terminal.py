"""A person at a terminal on the phone: lines are spoken, `/press 5` and `/hangup` do as they say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

import numpy as np

from turncall_phone.calls import Call, CallOver, CallStatus
from turncall_phone.journal import Alert, Entry, KeyPressed, Spoke, StatusChanged, StreamClosed, StreamOpened
from turncall_phone.speech import Speak
from turncall_phone.tones import GAP_MS, KEYS, TONE_MS

HELP = "type a line to say it; /press 12# presses keys; /hangup ends the call"


class Handset(Protocol):
    """A call in one's hand, here or in another process."""

    async def say(self, text: str) -> None:
        """Say `text`."""
        ...

    async def press(self, digits: str) -> None:
        """Press keys."""
        ...

    async def hang_up(self) -> None:
        """Put the phone down."""
        ...

    def reports(self) -> AsyncIterator[Entry]:
        """What happens to the call, from its start until it is over."""
        ...


class CallHandset:
    """A call of this process, with a voice to say lines in."""

    def __init__(self, call: Call, speak: Speak) -> None:
        self._call = call
        self._speak = speak

    async def say(self, text: str) -> None:
        """Say `text`; raises CallOver."""
        self._call.say(np.frombuffer(await asyncio.to_thread(self._speak, text), dtype=np.int16))

    async def press(self, digits: str) -> None:
        """Press keys, 200 ms each; raises CallOver."""
        for digit in digits:
            self._call.press(digit)
            await asyncio.sleep((TONE_MS + GAP_MS) / 1000)

    async def hang_up(self) -> None:
        """Put the phone down."""
        self._call.hang_up()

    async def reports(self) -> AsyncIterator[Entry]:
        """The call's journal from its start, until it is over."""
        async for entry in self._call.journal_of_carrier.follow(self._call.sid):
            yield entry
            if isinstance(entry.fact, StatusChanged) and CallStatus(entry.fact.status).is_final:
                return


async def dial_interactively(
    handset: Handset,
    lines: AsyncIterator[str],
    show: Callable[[str], None],
    agent_words: AsyncIterator[str] | None = None,
) -> None:
    """Let a person be the caller of a call that was dialed; returns when the call is over.

    `lines` are what is typed; their end hangs up. `show` prints one line. `agent_words` are what the agent says, from
    whoever knows: the carrier hears sound, not words.
    """
    show(HELP)
    tasks = [asyncio.create_task(_type(handset, lines, show), name="terminal lines")]
    if agent_words is not None:
        tasks.append(asyncio.create_task(_show_words(agent_words, show), name="terminal agent words"))
    try:
        async for entry in handset.reports():
            text = describe(entry)
            if text:
                show(text)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def describe(entry: Entry) -> str:
    """One line about what a person on the phone wants to know; empty for everything else."""
    match entry.fact:
        case StatusChanged(status=status):
            return f"* {status}"
        case Spoke(text=text):
            return f"carrier: {text}"
        case StreamOpened():
            return "* media connected"
        case StreamClosed(by=by):
            return f"* media closed by {by}"
        case KeyPressed(digit=digit, taken=taken):
            return f"* key {digit}" + ("" if taken else " (nobody listens)")
        case Alert(code=code, detail=detail):
            return f"! {code} {detail}"
        case _:
            return ""


async def _type(handset: Handset, lines: AsyncIterator[str], show: Callable[[str], None]) -> None:
    async for line in lines:
        command, _, rest = line.strip().partition(" ")
        # The call may end between a line and its effect; the reports say so.
        with suppress(CallOver):
            if command == "/hangup":
                break
            if command == "/press":
                await _press(handset, rest.replace(" ", ""), show)
            elif command.startswith("/"):
                show(HELP)
            elif command:
                await handset.say(line.strip())
    await handset.hang_up()


async def _press(handset: Handset, digits: str, show: Callable[[str], None]) -> None:
    if digits and set(digits.upper()) <= set(KEYS):
        await handset.press(digits)
    else:
        show(f"the keys are {KEYS}")


async def _show_words(agent_words: AsyncIterator[str], show: Callable[[str], None]) -> None:
    async for words in agent_words:
        show(f"agent: {words}")
