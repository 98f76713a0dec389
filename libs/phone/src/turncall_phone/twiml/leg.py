"""What a verb works on: the leg of the call that runs the document, and what it may answer."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol
from urllib.parse import urljoin

import msgspec

from turncall_phone.calls import Call, Instruction
from turncall_phone.exchange import Exchange
from turncall_phone.twiml.grammar import Element, Grammar


class Flow(Enum):
    """Where the document goes on: with the next verb, or nowhere."""

    NEXT = "next"
    END = "end"


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg and its document; `base_url` is where the document came from, empty when it was inline.

    `interpret` runs another document on the leg meanwhile.
    """

    call: Call
    exchange: Exchange
    answer: Callable[[], None]
    base_url: str = ""
    interpret: Callable[[Instruction, "Leg"], Awaitable[None]] | None = None

    def resolve(self, url: str) -> str:
        """`url` made absolute against the document's own; the document's own when `url` is empty."""
        return urljoin(self.base_url, url) if self.base_url else url

    def alert(self, code: int, detail: str) -> None:
        """Write one line of the carrier's debugger."""
        self.exchange.alert(self.call, code, detail)


# The next document, or where this one goes on.
type Step = Instruction | Flow


class Run(Protocol):
    """Carry out one verb; cancelled when the call ends or is redirected."""

    def __call__(self, verb: Element, leg: Leg, /) -> Awaitable[Step]:
        """Return once the verb is done."""
        ...


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """One verb: what it may hold, what it does, and whether the call must be answered before it."""

    grammar: Grammar
    run: Run
    is_answered: bool = True
