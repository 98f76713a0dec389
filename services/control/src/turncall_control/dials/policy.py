"""Whom a project's agents may call, and when. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import NumberParseException, timezone

from turncall_control.settings import WEEK, CallingHours, OutboundPolicy

_LOOK_AHEAD: Final = timedelta(days=9)
"""A week, and a day at each end for zones."""


class NoTimeInCommon(Exception):
    """The hours of a number's several time zones never fall together."""


def is_allowed(policy: OutboundPolicy, number: str) -> bool:
    """Whether the project calls numbers that begin like this one."""
    return not policy.allowed_prefixes or number.startswith(policy.allowed_prefixes)


def zones_of(number: str) -> tuple[ZoneInfo, ...]:
    """Where the person called may be, by libphonenumber's table; several for mobile numbers of large countries.

    Empty for a number that it does not know.
    """
    try:
        names = timezone.time_zones_for_number(phonenumbers.parse(number))
    except NumberParseException:
        return ()
    return tuple(zone for name in names if (zone := zone_named(name)) is not None)


def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of this IANA name; None when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def opens_at(hours: CallingHours, zones: Sequence[ZoneInfo], moment: datetime) -> datetime:
    """The first time from ``moment`` on that is within the hours in every zone; ``moment`` itself when it is.

    Raises `NoTimeInCommon`.
    """
    candidate, until = moment, moment + _LOOK_AHEAD
    while candidate < until:
        later = max((_opens_in(hours, zone, candidate) for zone in zones), default=candidate)
        if later == candidate:
            return candidate
        candidate = later
    raise NoTimeInCommon


def _opens_in(hours: CallingHours, zone: ZoneInfo, moment: datetime) -> datetime:
    """The first time from ``moment`` on that is within the hours of one zone."""
    return next(max(begin, moment) for begin, end in _windows(hours, zone, moment) if moment < end)


def _windows(hours: CallingHours, zone: ZoneInfo, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The hours of each allowed day from the moment's own day on, in UTC."""
    day = moment.astimezone(zone).date()
    for later in range(_LOOK_AHEAD.days + 1):
        on = day + timedelta(days=later)
        if WEEK[on.weekday()] in hours.weekdays:
            yield _at(on, hours.begins, zone), _at(on, hours.ends, zone)


def _at(day: date, hour: str, zone: ZoneInfo) -> datetime:
    if hour == "24:00":
        day, hour = day + timedelta(days=1), "00:00"
    return datetime.combine(day, time.fromisoformat(hour), tzinfo=zone).astimezone(UTC)
