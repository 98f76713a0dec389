"""Names that people give to things."""

from typing import Annotated

from msgspec import Meta

Label = Annotated[
    str,
    Meta(min_length=1, max_length=120, pattern=r"^\S(?:[^\x00-\x1f\x7f]*\S)?$", description="1 to 120 characters."),
]
"""No blank at either end, no control characters."""
