"""What can be made to go wrong on purpose: rules that strike a webhook, a status callback, a media socket or REST.

A new fault is a new struct with its own tag and the one place that asks for it with `FaultPlan.strike`.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from turncall_phone.journal import FaultStruck, Journal


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="fault"):
    """A rule: it lets `skip` matching occasions pass, strikes the next `times`, and is spent."""

    skip: int = 0
    times: int = 1


class AnswerFault(Fault, frozen=True, kw_only=True, tag="answer"):
    """A webhook whose URL contains `url` gets `effect` instead of its answer.

    `status` is answered with `status_code`; `timeout` never answers, `reset` breaks the connection, `bad_xml` answers
    200 with a torn document, `bad_type` answers 200 with an image. With `is_delivered` the customer gets the request
    and acts on it, and the answer is lost on the way back.
    """

    url: str
    effect: Literal["status", "timeout", "reset", "bad_xml", "bad_type"]
    status_code: int = 500
    is_delivered: bool = False


class CallbackFault(Fault, frozen=True, kw_only=True, tag="callback"):
    """The status callback for `event` (any, when empty) is delayed, duplicated, dropped or overtaken.

    `hold` keeps it back until the call's next callback has been answered, or for `delay_s` at most.
    """

    event: str = ""
    effect: Literal["delay", "duplicate", "drop", "hold"]
    delay_s: float = 1.0


class StreamFault(Fault, frozen=True, kw_only=True, tag="stream"):
    """A media socket goes wrong `at_ms` after its start.

    `drop` breaks the connection without a close frame. `stall` stops reading what the peer sends for `for_ms`.
    `freeze` stops both directions for `for_ms` while the socket stays open. `refuse` never gets as far as a socket.
    """

    effect: Literal["drop", "stall", "freeze", "refuse"]
    at_ms: int = 0
    for_ms: int = 1000


class LossFault(Fault, frozen=True, kw_only=True, tag="loss"):
    """How the carrier behaves when a media socket breaks or its peer closes it.

    `no_action` reports the end of the stream, then neither asks `action` nor goes on: the caller hears nothing until
    the call is updated. `unnoticed` does not even report it.
    """

    effect: Literal["no_action", "unnoticed"]


class RestFault(Fault, frozen=True, kw_only=True, tag="rest"):
    """A REST request of `method` whose path contains `path` is answered with `status_code`, after `delay_s`.

    With `is_done` the request takes effect first: the answer lies, as it does when a gateway times out. Without a
    `status_code` the true answer comes, late. With `is_cut` no answer comes at all: the connection is closed.
    """

    method: str = "POST"
    path: str
    status_code: int | None = 500
    delay_s: float = 0.0
    is_done: bool = False
    is_cut: bool = False


type AnyFault = AnswerFault | CallbackFault | StreamFault | LossFault | RestFault


class FaultPlan:
    """The faults that wait to strike, in the order in which they were added."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rules: dict[int, tuple[AnyFault, int]] = {}
        self._count = 0

    def add(self, fault: AnyFault) -> int:
        """Arm `fault`; returns the id that withdraws it."""
        self._count += 1
        self._rules[self._count] = (fault, 0)
        return self._count

    def withdraw(self, fault_id: int) -> bool:
        """Disarm one fault; False when it is spent or unknown."""
        return self._rules.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Disarm all faults."""
        self._rules.clear()

    def armed(self) -> tuple[tuple[int, AnyFault], ...]:
        """The faults that are not spent, with their ids."""
        return tuple((fault_id, fault) for fault_id, (fault, _) in self._rules.items())

    def strike[F: Fault](self, kind: type[F], matches: Callable[[F], bool], call_sid: str | None = None) -> F | None:
        """Count one occasion; returns the first fault of `kind` that strikes it.

        Every rule that matches counts the occasion until one strikes, so rules on the same URL take their turns.
        """
        for fault_id, (fault, seen) in tuple(self._rules.items()):
            if not isinstance(fault, kind) or not matches(fault):
                continue
            seen += 1
            if seen >= fault.skip + fault.times:
                del self._rules[fault_id]
            else:
                self._rules[fault_id] = (fault, seen)
            if seen > fault.skip:
                name = f"{fault.__struct_config__.tag}.{getattr(fault, 'effect', 'answer')}"
                self._journal.add(FaultStruck(fault_id=fault_id, fault=name), call_sid)
                return fault
        return None
