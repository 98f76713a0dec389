"""Structured logs: one JSON line for each event, without personal data, from our code and from everybody else's."""

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final, TextIO

import structlog
from msgspec.json import encode
from structlog.stdlib import BoundLogger
from structlog.typing import Processor

from turncall_runtime.privacy import Redactor
from turncall_runtime.secret import Secret

Log = BoundLogger
"""A logger: ``log.info("call.admitted", slots=3)``. The first argument names the event, the rest are its facts."""

OURS: Final = "turncall"
"""Loggers whose name begins so log at the chosen level. Others write free text, Pipecat's speech: warnings and up."""

_LEVELS = logging.getLevelNamesMapping()
_FIRST = ("time", "level", "event", "service", "logger", "call_id", "epoch")
_HANDLER = "turncall_json_lines"


def configure(service: str, level: str, secrets: Iterable[Secret] = (), stream: TextIO | None = None) -> None:
    """Sends every log of this process to ``stream`` (stderr) as JSON lines, at ``level`` (debug, info, warning, error).

    Covers structlog, the standard library and, where it is installed, loguru. ``secrets`` are hidden wherever they
    turn up. Calling it again replaces what was set before. Raises `ValueError` for an unknown level.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redaction(Redactor(secrets), service),
        _line,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_HANDLER)
    handler.addFilter(_is_welcome)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()])
    )
    root = logging.getLogger()
    for present in [old for old in root.handlers if old.get_name() == _HANDLER]:
        root.removeHandler(present)
    root.addHandler(handler)
    set_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    if find_spec("loguru") is not None:
        _bridge_loguru()


def set_level(level: str) -> None:
    """Changes the level while the process runs. Raises `ValueError` for an unknown one."""
    number = _LEVELS.get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}; use debug, info, warning or error")
    logging.getLogger().setLevel(number)


def logger(name: str) -> Log:
    """The logger of a module: ``log = logs.logger(__name__)``. It may be made before `configure`."""
    made: Log = structlog.stdlib.get_logger(name)
    return made


def bound(**facts: object) -> AbstractContextManager[None]:
    """While it is open, every log line of this task and of tasks started from it carries ``facts``.

    ``with logs.bound(call_id=call_id, epoch=epoch): …``
    """
    return structlog.contextvars.bound_contextvars(**facts)


def _is_welcome(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.startswith(OURS)


def _stamp(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """UTC, RFC 3339, milliseconds."""
    record = event.get("_record")
    moment = datetime.fromtimestamp(record.created, UTC) if record else datetime.now(UTC)
    event["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _redaction(redactor: Redactor, service: str) -> Processor:
    def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        clean = {name: redactor.field(name, value) for name, value in event.items()}
        return {"service": service, **clean}

    return redact


def _line(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    ordered = {name: event[name] for name in _FIRST if name in event}
    return encode(ordered | dict(event)).decode()


def _bridge_loguru() -> None:
    """Hands loguru's records to the standard library, under the module that wrote them."""
    from loguru import logger as loguru_logger  # noqa: PLC0415 - optional: media brings it in with Pipecat

    loguru_logger.remove()
    loguru_logger.add(_from_loguru, level="WARNING", format="{message}", backtrace=False, diagnose=False)


def _from_loguru(message: Any) -> None:
    record: Mapping[str, Any] = message.record
    caught = record["exception"]
    info = (caught.type, caught.value, caught.traceback) if caught and caught.type else None
    target = logging.getLogger(record["name"] or "loguru")
    target.log(min(record["level"].no, logging.CRITICAL), "%s", record["message"], exc_info=info)
