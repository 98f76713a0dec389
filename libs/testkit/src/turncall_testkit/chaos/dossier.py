"""A run on disk, for whoever looks into a miss: each call's story in order, and its two sides as one recording."""

import wave
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from turncall_testkit.chaos.history import CallHistory, History


def write(history: History, folder: Path) -> None:
    """``{call}.txt`` and ``{call}.wav`` (left the caller, right what the caller heard) in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for call in history.calls:
        (folder / f"{call.call_id}.txt").write_text("\n".join(story(call, history)) + "\n")
        _write_wav(call, folder / f"{call.call_id}.wav")


def story(call: CallHistory, history: History) -> list[str]:
    """What the carrier saw, the workers stated and the scenario did, one line each, in the order of time."""
    lines: list[tuple[datetime, str]] = [(strike.at, f"*** {strike.name}") for strike in history.strikes]
    for fact in call.stated:
        lines.append((fact.at, f"worker  {msgspec.json.encode(fact).decode()}"))
    for stored in call.stored:
        if stored.epoch == 0:
            lines.append((stored.at, f"control {stored.type} {stored.data}"))
    for entry in call.journal:
        lines.append((entry.at, f"carrier {msgspec.json.encode(entry.fact).decode()}"))
    positions = [strike.positions_ms.get(call.call_id) for strike in history.strikes]
    head = [f"{call.told}", f"booked {list(call.bookings)}", f"struck at {positions} ms", ""]
    return head + [f"{at:%H:%M:%S.%f}"[:-3] + f" {line}" for at, line in sorted(lines)]


def _write_wav(call: CallHistory, path: Path) -> None:
    size = min(len(call.said), len(call.heard)) // 2 * 2
    sides = [np.frombuffer(side[:size], dtype="<i2") for side in (call.said, call.heard)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.stack(sides, axis=1).tobytes())
