"""The request on whose behalf the database is changed: what is written beside each change knows who asked for it.

A context variable and not an argument: a change whose author forgot to pass it on would be missing from the log.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import UUID

from msgspec import Struct

from turncall_control.db.engine import Database
from turncall_proto.ids import ProjectId

PLATFORM: Final = "platform"
LINK: Final = "link"
"""Who acts without a key: somebody who was given a link."""
"""The operator, as an actor."""


class Answer(Struct, frozen=True, kw_only=True):
    """A successful answer, as it went out."""

    status: int
    media_type: str
    body: bytes


class Claim(Struct, frozen=True, kw_only=True):
    """The right to carry out what an idempotency key stands for; ``id`` tells this attempt from a later one."""

    project_id: ProjectId
    key: str
    id: UUID


class Act:
    """One request, as it becomes known: first its address, then who asks for what, then what came of it."""

    def __init__(self, request_id: str, address: str) -> None:
        self.request_id = request_id
        self.address = address
        self.database: Database | None = None
        self.actor = ""
        """The id of the key, `PLATFORM` or `LINK`; empty until it is known, and in what no key is needed for."""
        self.operation = ""
        self.project_id: ProjectId | None = None
        self.object_id = ""
        """What the path names."""
        self.is_audited = False
        """Whether a success leaves an entry even when no row changed: every change, every listen."""
        self.has_session = False
        """Whether the handler works in one transaction, which ends after it has returned."""
        self.claim: Claim | None = None
        self.entries = 0
        """Committed so far."""
        self.answer: Answer | None = None
        """Known once the handler has succeeded; the transaction that ends next is the last one."""
        self.is_refused = False
        """Whether the handler itself refused, so that nothing of what was asked for stands."""

    def listens(self, database: Database, operation: str, project_id: ProjectId, object_id: str) -> None:
        """It is somebody with a link, who listens to this: a success leaves an entry."""
        self.database, self.operation, self.actor = database, operation, LINK
        self.project_id, self.object_id, self.is_audited = project_id, object_id, True


_ACT: Final[ContextVar[Act | None]] = ContextVar("turncall_act", default=None)


def current() -> Act | None:
    """The request that this task serves; None in background work."""
    return _ACT.get()


@contextmanager
def acting(act: Act) -> Iterator[Act]:
    """Until it is left, what this task and its children do is done for ``act``."""
    token = _ACT.set(act)
    try:
        yield act
    finally:
        _ACT.reset(token)
