"""The base of every table, and the columns that hold ids and structs of the contract."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Dialect, MetaData, func, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from turncall_proto import ids
from turncall_proto.ids import ProjectId

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(DeclarativeBase):
    """A table. Foreign keys are written by table name; no relationship crosses a slice."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: types.DateTime(timezone=True), str: types.Text()}  # noqa: RUF012 - SQLAlchemy's


class Id(types.TypeDecorator[str]):
    """A UUID in Postgres, ``<prefix>_<hex>`` everywhere else. Binding an id of another kind raises `MalformedId`."""

    impl = types.Uuid
    cache_ok = True

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def process_bind_param(self, value: str | None, dialect: Dialect) -> UUID | None:
        """The bare UUID."""
        return None if value is None else ids.parsed(self.prefix, value)

    def process_result_value(self, value: UUID | None, dialect: Dialect) -> str | None:
        """The wire form."""
        return None if value is None else ids.written(self.prefix, value)


class Word[T: StrEnum](types.TypeDecorator[T]):
    """A word out of a closed list, as ``text``; the list is kept by a check in the migration."""

    impl = types.Text
    cache_ok = True

    def __init__(self, words: type[T]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: T | None, dialect: Dialect) -> str | None:
        """The bare word."""
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> T | None:
        """The member of the list."""
        return None if value is None else self.words(value)


class Box(types.TypeDecorator[bytes]):
    """A secret that `vault` encrypted for the row's ``project_id``; `rotation` rewrites every column of this type."""

    impl = types.LargeBinary
    cache_ok = True


class StructJson[T: msgspec.Struct | tuple[msgspec.Struct, ...]](types.TypeDecorator[T]):
    """A struct of the contract, or several, as ``jsonb``; reading one back checks it against the struct again."""

    impl = postgresql.JSONB
    cache_ok = True

    def __init__(self, kind: type[T]) -> None:
        super().__init__(none_as_null=True)  # an absent struct is no JSON null
        self.kind = kind

    def process_bind_param(self, value: T | None, dialect: Dialect) -> T | None:
        """The struct itself: the engine's serialiser writes it."""
        return value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> T | None:
        """The struct."""
        return None if value is None else msgspec.convert(value, self.kind)


def owned(column: InstrumentedAttribute[ProjectId], project_id: ProjectId) -> ColumnElement[bool]:
    """The first wall between tenants: rows of this project. Row-level security underneath is the second."""
    return column == project_id


def created_at() -> Mapped[datetime]:
    """A column for the moment of insertion, aware UTC."""
    return mapped_column(server_default=func.now())
