"""Creating what lives in the server: streams and durable consumers, by JetStream's JSON API.

Formats: https://docs.nats.io/reference/reference-protocols/nats_api_reference, tried against server 2.15.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from turncall_bus.bus import Fill, Refused
from turncall_proto.subjects import StreamSpec

NS: Final = 1_000_000_000
MAX_UNACKED: Final = 2048
"""Messages of one consumer that may be out for handling, over all replicas; more are not delivered."""
_NAME_IN_USE: Final = 10058
_NO_SUCH_SEQUENCE: Final = 10043

type Request = Callable[[str, bytes], Awaitable[bytes]]
"""Asks the JetStream API: subject after ``$JS.API.`` and JSON, to JSON. Raises `BusError`."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What JetStream says when it refuses; codes are listed in the server's ``errors.json``."""

    err_code: int = 0
    description: str = ""


class _StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a stream that are ours. Replicas and placement are the operator's and are left as they are."""

    name: str
    subjects: tuple[str, ...]
    retention: str
    max_age: int
    max_bytes: int
    duplicate_window: int
    storage: str = "file"
    discard: str = "new"
    allow_direct: bool = True


class _ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    durable_name: str
    filter_subject: str
    ack_wait: int
    ack_policy: str = "explicit"
    deliver_policy: str = "all"
    max_deliver: int = -1
    max_ack_pending: int = MAX_UNACKED


class _ConsumerAsked(msgspec.Struct, frozen=True, kw_only=True):
    stream_name: str
    config: _ConsumerConfig


class _State(msgspec.Struct, frozen=True, kw_only=True):
    messages: int = 0
    bytes: int = 0


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    error: Problem | None = None
    config: dict[str, Any] = {}
    state: _State = _State()


async def prepare_stream(request: Request, spec: StreamSpec) -> None:
    """Creates the stream or brings it up to ``spec``. Raises `BusError`; safe to race."""
    wanted = _StreamConfig(
        name=spec.name,
        subjects=spec.subjects,
        retention=spec.retention,
        max_age=spec.max_age_s * NS,
        max_bytes=spec.max_bytes,
        duplicate_window=spec.duplicate_window_s * NS,
    )
    problem = (await _ask(request, f"STREAM.CREATE.{spec.name}", wanted)).error
    if problem is None:
        return
    if problem.err_code != _NAME_IN_USE:
        raise Refused(f"stream {spec.name} was not created: {problem.description} ({problem.err_code})")
    stored = (await _ask(request, f"STREAM.INFO.{spec.name}", None)).config
    ours = msgspec.to_builtins(wanted)
    if stored | ours == stored:
        return
    problem = (await _ask(request, f"STREAM.UPDATE.{spec.name}", stored | ours)).error
    if problem is not None:
        raise Refused(f"stream {spec.name} was not updated: {problem.description} ({problem.err_code})")


async def ensure_consumer(
    request: Request, stream: str, durable: str, *, subject: str, redeliver_after_s: float
) -> None:
    """Creates the durable consumer or brings it up to date. Raises `BusError`; safe to race."""
    config = _ConsumerConfig(
        name=durable, durable_name=durable, filter_subject=subject, ack_wait=int(redeliver_after_s * NS)
    )
    asked = _ConsumerAsked(stream_name=stream, config=config)
    problem = (await _ask(request, f"CONSUMER.CREATE.{stream}.{durable}", asked)).error
    if problem is not None:
        raise Refused(f"consumer {durable} of {stream} was not made: {problem.description} ({problem.err_code})")


async def purge_subject(request: Request, stream: str, subject: str) -> None:
    """Deletes what ``stream`` holds under the filter ``subject``. Raises `BusError`."""
    problem = (await _ask(request, f"STREAM.PURGE.{stream}", {"filter": subject})).error
    if problem is not None:
        raise Refused(f"stream {stream} was not purged: {problem.description} ({problem.err_code})")


async def remove_message(request: Request, stream: str, stream_seq: int) -> None:
    """Deletes one message of ``stream``, without overwriting its bytes on disk. Raises `BusError`."""
    asked = {"seq": stream_seq, "no_erase": True}
    problem = (await _ask(request, f"STREAM.MSG.DELETE.{stream}", asked)).error
    if problem is not None and problem.err_code != _NO_SUCH_SEQUENCE:
        raise Refused(f"message {stream_seq} of {stream} was not deleted: {problem.description} ({problem.err_code})")


async def stream_fill(request: Request, stream: str) -> Fill:
    """How full ``stream`` is. Raises `BusError`."""
    answer = await _ask(request, f"STREAM.INFO.{stream}", None)
    if answer.error is not None:
        raise Refused(f"stream {stream} tells nothing: {answer.error.description} ({answer.error.err_code})")
    return Fill(messages=answer.state.messages, size_bytes=answer.state.bytes)


async def _ask(request: Request, subject: str, asked: msgspec.Struct | dict[str, Any] | None) -> _Answer:
    data = b"" if asked is None else msgspec.json.encode(asked)
    return msgspec.json.decode(await request(subject, data), type=_Answer)
