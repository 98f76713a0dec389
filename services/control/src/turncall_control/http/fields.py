"""Fields that several resources have: names that people give, moments."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

Label = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        pattern=r"^[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$(?!\n)",
        description="1 to 120 characters.",
    ),
]
"""No blank at either end, no control characters."""

Moment = Annotated[datetime, Meta(tz=True)]
"""Aware UTC; RFC 3339 in JSON."""
