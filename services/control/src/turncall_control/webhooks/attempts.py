"""What an answer to a webhook means, and when to try again. Pure.

The rules are those of Standard Webhooks 1.0: 2xx alone is a success, a redirect is a failure, 410 ends the
subscription, and a server that says when to come back is heeded.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

from turncall_egress import EgressAnswer

GONE: Final = 410
BUSY: Final = frozenset({429, 502, 503, 504})
"""Answers of a server that has too much to do: their ``Retry-After`` holds for everything sent to it."""
LONGEST_WAIT_S: Final = 86_400
LONGEST_PAUSE_S: Final = 3600
SPREAD: Final = 0.2
"""A retry comes up to this part of its delay late, so that those of an outage do not come together."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What an attempt came to. ``retry_after_s`` is what the server asked for; ``failure`` is empty on success."""

    failure: str = ""
    is_gone: bool = False
    is_busy: bool = False
    retry_after_s: float = 0.0


def verdict(answer: EgressAnswer, now: datetime) -> Verdict:
    """What the server's answer says about the delivery."""
    if 200 <= answer.status < 300:
        return Verdict()
    if 300 <= answer.status < 400:
        return Verdict(failure=f"answered {answer.status}: redirects are not followed")
    return Verdict(
        failure=f"answered {answer.status}",
        is_gone=answer.status == GONE,
        is_busy=answer.status in BUSY,
        retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), now),
    )


def retry_after_s(header: str, now: datetime) -> float:
    """The seconds of a ``Retry-After`` (RFC 9110, 10.2.3), a day at most; 0 when there is none to be understood."""
    if header.isascii() and header.isdigit():
        return float(min(int(header[:9]), LONGEST_WAIT_S))
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_WAIT_S)


def next_try(retries_s: Sequence[int], failed: int, verdict: Verdict, now: datetime, roll: float) -> datetime | None:
    """When to try again after the ``failed``-th failure in a row (from 1); None after the last.

    ``roll`` in [0, 1) decides how late within `SPREAD`.
    """
    if verdict.is_gone or failed > len(retries_s):
        return None
    delay_s = retries_s[failed - 1] * (1 + SPREAD * roll)
    return now + timedelta(seconds=max(delay_s, verdict.retry_after_s))
