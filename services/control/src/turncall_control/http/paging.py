"""Lists in pages: newest first, bounded, continued by an opaque cursor that survives inserts and deletes."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar.params import QueryParameter
from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

from turncall_control.errors import Invalid
from turncall_proto import ids

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200


class Page[T](Struct, frozen=True, kw_only=True):
    """Some items of a list, newest first, and how to ask for the next ones."""

    items: tuple[T, ...]
    next_cursor: Annotated[str | None, Meta(description="Pass it as `cursor` for the next page; null on the last.")]


class PageAsked(Struct, frozen=True, kw_only=True):
    """``limit`` items after ``after``, the sort key of the last item seen; None asks for the first page."""

    limit: int
    after: tuple[str, ...] | None


def page_asked(
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Items on a page.")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, QueryParameter(max_length=400, description="From the page before.")] = None,
) -> PageAsked:
    """The dependency ``page`` of list routes. Raises `Invalid` for a cursor that we did not make."""
    return PageAsked(limit=limit, after=None if cursor is None else _read(cursor))


def newest_first[RowT](
    statement: Select[RowT], id_column: InstrumentedAttribute[Any], prefix: str, asked: PageAsked
) -> Select[RowT]:
    """One page and one row more, by an id that is ordered by time. Raises `Invalid` for another list's cursor."""
    if asked.after is not None:
        if len(asked.after) != 1 or not _is_id(prefix, asked.after[0]):
            raise Invalid.at("cursor", "It was not made by this list")
        statement = statement.where(id_column < asked.after[0])
    return statement.order_by(id_column.desc()).limit(asked.limit + 1)


def asked_for(*wanted: tuple[InstrumentedAttribute[Any], object]) -> Iterator[ColumnElement[bool]]:
    """What a list is narrowed by: each column has its value, as far as one was given."""
    return (column == value for column, value in wanted if value is not None)


def within(
    column: InstrumentedAttribute[datetime], since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    """A span of time, as far as its ends were given; ``until`` is outside of it."""
    if since is not None:
        yield column >= since
    if until is not None:
        yield column < until


def number_after(asked: PageAsked) -> int:
    """The number of the last item seen, in a list that counts its items from 1; 0 for the first page. Raises `Invalid`
    for another list's cursor."""
    if asked.after is None:
        return 0
    if len(asked.after) != 1 or not (
        asked.after[0].isascii() and asked.after[0].isdigit() and len(asked.after[0]) < 10
    ):
        raise Invalid.at("cursor", "It was not made by this list")
    return int(asked.after[0])


def paged[RowT, ViewT](
    rows: Sequence[RowT], asked: PageAsked, show: Callable[[RowT], ViewT], key: Callable[[RowT], tuple[str, ...]]
) -> Page[ViewT]:
    """A page out of ``limit + 1`` rows: the one too many says that there is a next page."""
    shown = rows[: asked.limit]
    is_last = len(rows) <= asked.limit
    return Page(items=tuple(show(row) for row in shown), next_cursor=None if is_last else _written(key(shown[-1])))


def _written(key: tuple[str, ...]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def _read(cursor: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=tuple[str, ...])
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid.at("cursor", "It was not made by this list") from error


def _is_id(prefix: str, text: str) -> bool:
    try:
        ids.parsed(prefix, text)
    except ids.MalformedId:
        return False
    return True
