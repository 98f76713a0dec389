"""Secrets at rest. A slice that keeps a secret encrypts it here and stores the box in a column of type `db.base.Box`.

    box = await plane.vault.encrypt(project_id, f"webhook/{webhook_id}", Secret(text))  # before the transaction begins
    secret = await plane.vault.decrypt(project_id, f"webhook/{webhook_id}", box)

Each project has data keys of its own, which are stored wrapped by the operator's master key. Only wrapped keys are
remembered; a secret is decrypted when it is needed. `rotation` finds every `Box` column by itself.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control import envelope
from turncall_control.db import failures
from turncall_control.db.base import Id, Row, created_at
from turncall_control.db.engine import Pool
from turncall_control.envelope import CannotDecrypt, MasterKey, WrappedKey
from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime.secret import Secret

REMEMBER_S: Final = 30.0
"""How long after a data key was shredded elsewhere this process can still use it."""
REMEMBERED: Final = 10_000

Connection = AsyncConnection[TupleRow]

_NEWEST = "select number, master, wrapped from data_keys where project_id = %s order by number desc limit 1"
_NUMBERED = "select number, master, wrapped from data_keys where project_id = %s and number = %s"
_ALL = "select project_id, number, master, wrapped from data_keys where project_id = any(%s) limit %s"
_ADD = (
    "insert into data_keys (project_id, number, master, wrapped)"
    " select id, %s, %s, %s from projects where id = %s and deleted_at is null on conflict do nothing"
)


class DataKeyRow(Row):
    """A project's data key, wrapped by the master key ``master``; the newest one encrypts. Not for the api login."""

    __tablename__ = "data_keys"

    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    master: Mapped[str]
    wrapped: Mapped[bytes]
    created_at: Mapped[datetime] = created_at()


class Vault:
    """Encrypts and decrypts for projects. ``masters`` are the operator's keys, the wrapping one first."""

    def __init__(self, pool: Pool, masters: Sequence[MasterKey], clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._masters = tuple(masters)
        self._clock = clock
        self._known: OrderedDict[tuple[ProjectId, int], tuple[WrappedKey, float]] = OrderedDict()

    async def encrypt(self, project_id: ProjectId, purpose: str, secret: Secret) -> bytes:
        """A box that opens for this project and purpose only.

        Takes a connection of its own, so call it before a transaction begins: a project's first data key is made here,
        and must not be undone with the caller's work. Raises `CannotDecrypt` for a project that is gone.
        """
        project = ids.parsed(ids.PROJECT, project_id)
        async with self._pool.connection() as connection:
            key = await _one(connection, _NEWEST, project) or await self._first(connection, project_id)
        return envelope.encrypt(envelope.unwrap(self._masters, project, key), key.number, project, purpose, secret)

    async def decrypt(
        self, project_id: ProjectId, purpose: str, box: bytes, connection: Connection | None = None
    ) -> Secret:
        """What `encrypt` was given. ``connection`` is one that the caller holds, of the system login.

        Works for the last known keys while Postgres is away. Raises `CannotDecrypt`.
        """
        key = await self._numbered(project_id, envelope.key_number(box), connection)
        return self._opened(project_id, purpose, box, key)

    def recall(self, project_id: ProjectId, purpose: str, box: bytes) -> Secret:
        """What `encrypt` was given, by the last known keys; Postgres is not asked. Raises `CannotDecrypt`."""
        number = envelope.key_number(box)
        known = self._known.get((project_id, number))
        if known is None:
            raise CannotDecrypt(f"data key {number} of {project_id} is not known here")
        return self._opened(project_id, purpose, box, known[0])

    async def learn(self, connection: Connection, project_ids: Collection[ProjectId]) -> None:
        """Brings what is remembered of keys up to date, and forgets the keys of every other project."""
        asked_s = self._clock()
        cursor = await connection.execute(_ALL, ([ids.parsed(ids.PROJECT, one) for one in project_ids], REMEMBERED))
        self._known = OrderedDict(
            (
                (ProjectId(ids.written(ids.PROJECT, project)), number),
                (WrappedKey(number=number, master=master, wrapped=bytes(wrapped)), asked_s + REMEMBER_S),
            )
            for project, number, master, wrapped in await cursor.fetchall()
        )

    async def shred(self, project_id: ProjectId) -> None:
        """Deletes the project's data keys: what was encrypted with them is lost. Elsewhere within `REMEMBER_S`."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "delete from data_keys where project_id = %s", (ids.parsed(ids.PROJECT, project_id),)
            )
        for known in [known for known in self._known if known[0] == project_id]:
            del self._known[known]

    @asynccontextmanager
    async def borrowed(self, connection: Connection | None) -> AsyncIterator[Connection]:
        """``connection`` itself, or one of the pool if there is none."""
        if connection is not None:
            yield connection
            return
        async with self._pool.connection() as own:
            yield own

    def _opened(self, project_id: ProjectId, purpose: str, box: bytes, key: WrappedKey) -> Secret:
        if envelope.purpose_of(box) != purpose:
            raise CannotDecrypt(f"the box is not for {purpose}")
        project = ids.parsed(ids.PROJECT, project_id)
        return envelope.decrypt(envelope.unwrap(self._masters, project, key), project, box)

    async def _first(self, connection: Connection, project_id: ProjectId) -> WrappedKey:
        project = ids.parsed(ids.PROJECT, project_id)
        made = envelope.wrap(self._masters, project, 1, envelope.new_data_key())
        await connection.execute(_ADD, (made.number, made.master, made.wrapped, project))
        # Another request may have been first.
        key = await _one(connection, _NEWEST, project)
        if key is None:
            raise CannotDecrypt(f"{project_id} is gone, and so are its keys")
        return key

    async def _numbered(self, project_id: ProjectId, number: int, connection: Connection | None) -> WrappedKey:
        name = project_id, number
        known = self._known.get(name)
        if known is not None and known[1] > self._clock():
            return known[0]
        asked_s = self._clock()
        try:
            async with self.borrowed(connection) as lent:
                key = await _one(lent, _NUMBERED, ids.parsed(ids.PROJECT, project_id), number)
        except failures.FAILURES as error:
            if known is None or not failures.is_away(error):
                raise
            return known[0]
        self._known.pop(name, None)
        if key is None:
            raise CannotDecrypt(f"data key {number} of {project_id} is gone")
        while len(self._known) >= REMEMBERED:
            self._known.popitem(last=False)
        self._known[name] = key, asked_s + REMEMBER_S
        return key


async def _one(connection: Connection, query: LiteralString, *values: object) -> WrappedKey | None:
    row = await (await connection.execute(query, values)).fetchone()
    return None if row is None else WrappedKey(number=row[0], master=row[1], wrapped=bytes(row[2]))
