"""One JSON line for each event."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import loguru
import pytest
import structlog

from turncall_runtime import logs
from turncall_runtime.secret import Secret


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before, level, structure = list(logging.root.handlers), logging.root.level, structlog.get_config()
    yield io.StringIO()
    logging.captureWarnings(False)
    logging.root.handlers[:] = before
    logging.root.setLevel(level)
    structlog.configure(**structure)
    loguru.logger.remove()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_facts(stream: io.StringIO) -> None:
    """Time, level, event and service come first, then what the caller added."""
    logs.configure("control", "info", stream=stream)
    logs.logger("turncall_control.calls").info("call.admitted", slots=3, agent="agt_1")

    [line] = _lines(stream)
    assert list(line) == ["time", "level", "event", "service", "logger", "slots", "agent"]
    assert (line["event"], line["service"], line["slots"]) == ("call.admitted", "control", 3)


def test_times_are_utc_with_milliseconds(stream: io.StringIO) -> None:
    """RFC 3339, the form that every log store reads."""
    logs.configure("control", "info", stream=stream)
    logs.logger("turncall_control").info("x")

    text = _lines(stream)[0]["time"]
    assert len(text) == len("2026-11-22T19:04:01.123Z")
    assert datetime.fromisoformat(text).utcoffset() is not None


async def test_bound_facts_follow_a_task(stream: io.StringIO) -> None:
    """A call's id is on each line of its tasks, and on none of another's."""
    logs.configure("media", "info", stream=stream)
    log = logs.logger("turncall_media")

    async def speak(call_id: str) -> None:
        with logs.bound(call_id=call_id):
            await asyncio.sleep(0)
            log.info("spoke", of=call_id)

    await asyncio.gather(speak("call_1"), speak("call_2"))
    log.info("after")

    lines = _lines(stream)
    assert [line["call_id"] == line["of"] for line in lines[:2]] == [True, True]
    assert "call_id" not in lines[2]


def test_the_standard_library_speaks_the_same_form(stream: io.StringIO) -> None:
    """A library that logs by name and ``extra`` makes the same line, with its facts as fields."""
    logs.configure("control", "info", stream=stream)
    logging.getLogger("turncall_bus.consumer").info("message.parked", extra={"attempts": 3})

    [line] = _lines(stream)
    assert (line["event"], line["logger"], line["attempts"]) == ("message.parked", "turncall_bus.consumer", 3)


def test_loguru_speaks_the_same_form(stream: io.StringIO) -> None:
    """Pipecat's warnings arrive, with the exception and under the module that wrote them."""
    logs.configure("media", "debug", stream=stream)
    try:
        raise ValueError("bad frame")
    except ValueError:
        loguru.logger.exception("pipeline stopped")

    [line] = _lines(stream)
    assert (line["level"], line["event"]) == ("error", "pipeline stopped")
    assert "ValueError: bad frame" in line["exception"]


def test_free_text_of_others_is_kept_out_below_warnings(stream: io.StringIO) -> None:
    """Pipecat writes speech at debug and HTTP clients write URLs at info; neither passes at any level of ours."""
    logs.configure("media", "debug", stream=stream)
    loguru.logger.info("User said: my password is swordfish")
    logging.getLogger("httpx").info("GET https://x.example/?key=1")
    logging.getLogger("httpx").warning("slow")

    assert [line["event"] for line in _lines(stream)] == ["slow"]


def test_secrets_and_numbers_are_hidden_everywhere(stream: io.StringIO) -> None:
    """In fields, in the event and in tracebacks."""
    logs.configure("media", "info", [Secret("vendorkey123")], stream)
    log = logs.logger("turncall_media")
    try:
        raise RuntimeError("refused vendorkey123 for +14155550100")
    except RuntimeError:
        log.exception("dial +14155550100 failed", detail="vendorkey123", to_number="anonymous")

    text = stream.getvalue()
    assert "vendorkey123" not in text
    assert "4155550100" not in text
    assert "anonymous" not in text


def test_the_level_changes_while_running(stream: io.StringIO) -> None:
    """An operator turns debug on and off without a restart."""
    logs.configure("media", "warning", stream=stream)
    log = logs.logger("turncall_media")
    log.info("hidden")
    logs.set_level("info")
    log.info("shown")

    assert [line["event"] for line in _lines(stream)] == ["shown"]
    with pytest.raises(ValueError, match="loud"):
        logs.set_level("loud")


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    """There is one line for an event, however often the logs were set up."""
    logs.configure("media", "info", stream=io.StringIO())
    logs.configure("media", "info", stream=stream)
    logs.logger("turncall_media").info("once")

    assert len(_lines(stream)) == 1
