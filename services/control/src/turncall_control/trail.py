"""What was changed and by whom, written by the transaction of the change itself.

Every flush of a session that serves a request leaves an entry for each row, whatever slice it belongs to. What changes
rows past the session (bare SQL) leaves at least one, of the request itself, before its answer is sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Index, event, insert, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstanceState, Mapped, Session, UOWTransaction, mapped_column

from turncall_control.db.act import Act, current
from turncall_control.db.base import Id, Row, Word, created_at
from turncall_control.db.engine import WatchedSession
from turncall_proto import ids
from turncall_proto.ids import AuditId, ProjectId
from turncall_runtime.privacy import HIDDEN, SECRET_FIELDS, Redactor, personal_fields
from turncall_runtime.secret import Secret

PRIVATE: Final = {"private": True}
"""``mapped_column(info=PRIVATE)``: a personal column, whose values no entry shows."""

LONGEST_VALUE_BYTES: Final = 8 * 1024
"""A longer value is told by its size."""

_KEPT: Final = "turncall_entries"
_UNTOLD: Final = frozenset({"id", "project_id", "created_at"})
_REDACTOR: Final = Redactor()


class Effect(StrEnum):
    """What an entry tells of."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    DONE = "done"
    """An act that changed no row of the API's: a listen, a command to a call, a repair at the carrier."""


class EntryRow(Row):
    """One change of one object, or one act. It refers to nothing: it outlives what it tells of."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_project_id_id", "project_id", "id"),
        Index("ix_audit_entries_actor_id", "actor", "id"),
        Index("ix_audit_entries_created_at", "created_at"),
    )

    id: Mapped[AuditId] = mapped_column(Id(ids.AUDIT), primary_key=True)
    project_id: Mapped[ProjectId | None] = mapped_column(Id(ids.PROJECT))
    created_at: Mapped[datetime] = created_at()
    actor: Mapped[str]
    operation: Mapped[str]
    object_id: Mapped[str]
    effect: Mapped[Effect] = mapped_column(Word(Effect))
    changes: Mapped[list[dict[str, Any]]] = mapped_column(postgresql.JSONB)
    request_id: Mapped[str]
    address: Mapped[str]


class Change(Struct, frozen=True, kw_only=True):
    """A field by its path, with what it held and what it holds; JSON values, secrets and personal ones hidden."""

    field: str
    before: Any = None
    after: Any = None


@event.listens_for(WatchedSession, "after_flush")
def _tell_changes(session: Session, flush: UOWTransaction) -> None:
    act = current()
    if act is None or not act.actor:
        return
    told = [
        *(_entry(act, Effect.CREATED, row, _initial(row)) for row in session.new),
        *(_entry(act, Effect.CHANGED, row, found) for row in session.dirty if (found := _changed(row))),
        *(_entry(act, Effect.DELETED, row, _initial(row, is_before=True)) for row in session.deleted),
    ]
    _keep(session, told)


@event.listens_for(WatchedSession, "before_commit")
def _tell_act(session: Session) -> None:
    """The entry of a request that is about to succeed and has left none."""
    act = current()
    if act is None or not act.is_audited or act.answer is None:
        return
    session.flush()
    if act.entries + session.info.get(_KEPT, 0) == 0:
        _keep(session, [_values(act, Effect.DONE, act.object_id, act.project_id, [])])


@event.listens_for(WatchedSession, "after_commit")
def _count(session: Session) -> None:
    kept, act = session.info.pop(_KEPT, 0), current()
    if act is not None:
        act.entries += kept


@event.listens_for(WatchedSession, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_KEPT, None)


def _keep(session: Session, entries: Sequence[Mapping[str, object]]) -> None:
    if entries:
        session.connection().execute(insert(EntryRow), list(entries))
        session.info[_KEPT] = session.info.get(_KEPT, 0) + len(entries)


def _entry(act: Act, effect: Effect, row: object, changes: Sequence[Change]) -> dict[str, object]:
    """An entry about a row. It belongs to the project of the row; a project belongs to itself."""
    state = inspect(row)
    assert isinstance(state, InstanceState)
    keys = [str(state.dict[str(column.key)]) for column in state.mapper.primary_key]
    table = str(state.mapper.local_table)
    object_id = keys[0] if len(keys) == 1 and isinstance(_id_type(state), Id) else f"{table}/{'/'.join(keys)}"
    project_id = state.dict["id"] if table == "projects" else state.dict.get("project_id", act.project_id)
    return _values(act, effect, object_id, project_id, changes)


def _id_type(state: InstanceState[Any]) -> object:
    return state.mapper.primary_key[0].type


def _values(
    act: Act, effect: Effect, object_id: str, project_id: ProjectId | None, changes: Sequence[Change]
) -> dict[str, object]:
    return {
        "id": ids.mint(ids.AUDIT),
        "project_id": project_id,
        "actor": act.actor,
        "operation": act.operation,
        "object_id": object_id,
        "effect": effect,
        "changes": msgspec.to_builtins(list(changes)),
        "request_id": act.request_id,
        "address": act.address,
    }


def _initial(row: object, *, is_before: bool = False) -> list[Change]:
    """The columns of a row that comes or goes, as far as they hold something."""
    told = []
    for name, is_private, value in _columns(row):
        if name not in _UNTOLD and value is not None:
            shown = _bounded(HIDDEN if is_private else _shown(name, value))
            told.append(Change(field=name, before=shown) if is_before else Change(field=name, after=shown))
    return told


def _changed(row: object) -> list[Change]:
    """What a flush changed of a row, down to the fields of structs in its columns."""
    state = inspect(row)
    assert isinstance(state, InstanceState)
    found: list[Change] = []
    for name, is_private, after in _columns(row):
        history = state.attrs[name].history
        if history.has_changes():
            before = history.deleted[0] if history.deleted else None
            if is_private or SECRET_FIELDS.search(name) or isinstance(after, bytes):
                found.append(Change(field=name, before=_mask(before), after=_mask(after)))
            else:
                found.extend(_differences(name, before, after))
    return found


def _columns(row: object) -> Iterator[tuple[str, bool, Any]]:
    """Name, whether its values are private, and the value of each column that is loaded."""
    state = inspect(row)
    assert isinstance(state, InstanceState)
    for attribute in state.mapper.column_attrs:
        if attribute.key in state.dict:
            column = attribute.columns[0]
            yield attribute.key, bool(column.info.get("private")), state.dict[attribute.key]


def _differences(path: str, before: Any, after: Any) -> Iterator[Change]:
    """The fields in which two values differ, by path; lists are compared whole."""
    if isinstance(before, Struct) and type(before) is type(after):
        hidden = personal_fields(type(before))
        pairs = [(name, getattr(before, name), getattr(after, name)) for name in before.__struct_fields__]
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        hidden = frozenset()
        pairs = [(str(name), before.get(name), after.get(name)) for name in {**before, **after}]
    elif before != after:
        name = path.rpartition(".")[2]
        yield Change(field=path, before=_bounded(_shown(name, before)), after=_bounded(_shown(name, after)))
        return
    else:
        return
    for name, old, new in pairs:
        if name not in hidden:
            yield from _differences(f"{path}.{name}", old, new)
        elif old != new:
            yield Change(field=f"{path}.{name}", before=_mask(old), after=_mask(new))


def _mask(value: object) -> str | None:
    return None if value is None else HIDDEN


def _shown(name: str, value: Any) -> Any:
    """``value`` as JSON may hold it, without secrets, marked fields, and numbers of phones in texts."""
    if value is None or isinstance(value, bool):
        return value
    if SECRET_FIELDS.search(name) or isinstance(value, bytes | bytearray | Secret):
        return HIDDEN
    if isinstance(value, str):
        return _REDACTOR.text(value)
    if isinstance(value, Struct):
        kind, hidden = type(value), personal_fields(type(value))
        tag = kind.__struct_config__.tag
        shown: dict[str, Any] = {} if tag is None else {str(kind.__struct_config__.tag_field): tag}
        for field in value.__struct_fields__:
            held = getattr(value, field)
            shown[field] = _mask(held) if field in hidden else _shown(field, held)
        return shown
    if isinstance(value, Mapping):
        return {_REDACTOR.text(str(key)): _shown(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown("", item) for item in value]
    return msgspec.to_builtins(value)


def _bounded(value: Any) -> Any:
    size_bytes = len(msgspec.json.encode(value))
    return value if size_bytes <= LONGEST_VALUE_BYTES else {"size_bytes": size_bytes}
