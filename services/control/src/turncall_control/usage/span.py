"""The time that a report is about."""

from datetime import UTC, datetime, timedelta
from typing import Final

from turncall_control.errors import Invalid

DEFAULT_DAYS: Final = 30
LONGEST_DAYS: Final = 366


def span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Its beginning and its end, which is not part of it; the last 30 days unless told. Raises `Invalid`."""
    end = until or datetime.now(UTC)
    begin = since or end - timedelta(days=DEFAULT_DAYS)
    if not begin < end <= begin + timedelta(days=LONGEST_DAYS):
        raise Invalid.at("since", f"It lies before until, by {LONGEST_DAYS} days at most")
    return begin, end
