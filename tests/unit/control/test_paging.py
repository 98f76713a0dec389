"""Pages: the cursor goes around, and only ours does."""

from base64 import urlsafe_b64encode

import pytest
from sqlalchemy import select

from turncall_control.errors import Invalid
from turncall_control.http.paging import PageAsked, newest_first, page_asked, paged
from turncall_control.keys.model import KeyRow
from turncall_proto import ids


def test_cursor_carries_the_sort_key_of_the_last_item():
    """What a page hands out, the next request understands."""
    page = paged(["c", "b", "a"], PageAsked(limit=2, after=None), str.upper, lambda row: (row, "é"))
    assert page.items == ("C", "B")
    assert page.next_cursor is not None
    assert page_asked(2, page.next_cursor) == PageAsked(limit=2, after=("b", "é"))


@pytest.mark.parametrize("rows", [[], ["a"], ["b", "a"]])
def test_last_page_has_no_cursor(rows):
    """A page that is not over-full is the last one."""
    assert paged(rows, PageAsked(limit=2, after=None), str, lambda row: (row,)).next_cursor is None


@pytest.mark.parametrize("cursor", ["x", "%%%", "é", "W10=", "", urlsafe_b64encode(b"[1]").decode(), "AAAA" * 20])
def test_cursor_of_somebody_else_is_refused(cursor):
    """What we did not write, and what names no item of the list, is a fault of the field."""
    statement = select(KeyRow)
    with pytest.raises(Invalid) as refused:
        newest_first(statement, KeyRow.id, ids.KEY, page_asked(5, cursor))
    assert refused.value.faults[0].field == "cursor"
