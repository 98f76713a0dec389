"""Rotating keys at rest: the master key over data keys, and the data keys over every stored secret.

Both may run while the service does, and again after a crash: each row is one conditional step, and a repeat does only
what is left.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct
from psycopg import sql
from sqlalchemy import Table

from turncall_control import envelope
from turncall_control.db.base import Box
from turncall_control.envelope import CannotDecrypt, MasterKey, WrappedKey
from turncall_control.tables import TABLES
from turncall_control.vault import Connection

Rotation = Callable[[Connection, tuple[MasterKey, ...]], Awaitable["Rotated"]]

RETIRED_FOR: Final = timedelta(minutes=10)
"""How long a data key stays after its successor was made: a request may be about to store a box under it."""


class Rotated(Struct, frozen=True, kw_only=True):
    """How many rows a rotation wrote anew, and how many data keys it deleted."""

    rewritten: int
    deleted: int = 0


async def rotate_master_key(connection: Connection, masters: tuple[MasterKey, ...]) -> Rotated:
    """Wraps every data key under the first master key; afterwards the others can be dropped.

    Raises `CannotDecrypt` for a data key whose master key is not given; what was wrapped before that stays so.
    """
    cursor = await connection.execute(
        "select project_id, number, master, wrapped from data_keys where master <> %s", (masters[0].key_id,)
    )
    rewritten = 0
    for project, number, master, wrapped in await cursor.fetchall():
        old = WrappedKey(number=number, master=master, wrapped=bytes(wrapped))
        new = envelope.wrap(masters, project, number, envelope.unwrap(masters, project, old))
        done = await connection.execute(
            "update data_keys set master = %s, wrapped = %s where project_id = %s and number = %s and wrapped = %s",
            (new.master, new.wrapped, project, number, old.wrapped),
        )
        rewritten += done.rowcount
    return Rotated(rewritten=rewritten)


async def rotate_data_keys(connection: Connection, masters: tuple[MasterKey, ...]) -> Rotated:
    """Gives every project a new data key, encrypts its secrets under it, and deletes old keys that nothing needs.

    Keys that were replaced within `RETIRED_FOR` stay until the next rotation. Raises `CannotDecrypt`.
    """
    cursor = await connection.execute("select project_id, max(number) from data_keys group by project_id")
    rewritten = deleted = 0
    for project, newest in await cursor.fetchall():
        made = envelope.wrap(masters, project, newest + 1, envelope.new_data_key())
        await connection.execute(
            "insert into data_keys (project_id, number, master, wrapped) values (%s, %s, %s, %s)"
            " on conflict do nothing",
            (project, made.number, made.master, made.wrapped),
        )
        keys = await _keys(connection, masters, project)
        still_used = {max(keys)}
        for table, column in _box_columns():
            done, used = await _rewritten(connection, table, column, project, keys)
            rewritten, still_used = rewritten + done, still_used | used
        deleted += await _delete_old(connection, project, still_used)
    return Rotated(rewritten=rewritten, deleted=deleted)


def _box_columns() -> list[tuple[Table, str]]:
    """Every column of every table that holds secrets; such a table has a ``project_id``."""
    tables = [table for table in (row.__table__ for row in TABLES) if isinstance(table, Table)]
    return [(table, column.name) for table in tables for column in table.columns if isinstance(column.type, Box)]


async def _keys(connection: Connection, masters: tuple[MasterKey, ...], project: UUID) -> dict[int, bytes]:
    cursor = await connection.execute("select number, master, wrapped from data_keys where project_id = %s", (project,))
    wrapped = [WrappedKey(number=row[0], master=row[1], wrapped=bytes(row[2])) for row in await cursor.fetchall()]
    return {key.number: envelope.unwrap(masters, project, key) for key in wrapped}


async def _rewritten(
    connection: Connection, table: Table, column: str, project: UUID, keys: dict[int, bytes]
) -> tuple[int, set[int]]:
    """How many boxes of a column are under the newest key now that were not, and which keys others still need."""
    name, box = sql.Identifier(table.name), sql.Identifier(column)
    select = sql.SQL("select distinct {box} from {name} where project_id = %s and {box} is not null")
    update = sql.SQL("update {name} set {box} = %s where project_id = %s and {box} = %s")
    cursor = await connection.execute(select.format(box=box, name=name), (project,))
    newest, done, used = max(keys), 0, set[int]()
    for (stored,) in await cursor.fetchall():
        old = bytes(stored)
        number = envelope.key_number(old)
        if number == newest:
            continue
        if number not in keys:
            raise CannotDecrypt(f"{table.name}.{column} has a box under data key {number}, which is gone")
        secret = envelope.decrypt(keys[number], project, old)
        new = envelope.encrypt(keys[newest], newest, project, envelope.purpose_of(old), secret)
        changed = await connection.execute(update.format(box=box, name=name), (new, project, old))
        done += changed.rowcount
        if not changed.rowcount:
            used.add(number)  # somebody changed the row meanwhile, perhaps by a box under this very key
    return done, used


async def _delete_old(connection: Connection, project: UUID, still_used: set[int]) -> int:
    done = await connection.execute(
        "delete from data_keys d where project_id = %s and number <> all(%s) and exists ("
        " select from data_keys n where n.project_id = d.project_id and n.number = d.number + 1"
        " and n.created_at < now() - %s)",
        (project, sorted(still_used), RETIRED_FOR),
    )
    return done.rowcount
