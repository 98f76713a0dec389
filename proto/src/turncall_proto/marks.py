"""Marks that annotate fields of the contract and survive into its JSON Schema."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

PERSONAL: Final = Meta(extra_json_schema={"x-personal": True})
"""The field may hold speech, text or a number of a person: logs and traces drop it."""

PhoneNumber = Annotated[
    str,
    Meta(description="E.164, or whatever the carrier gives for a withheld caller.", max_length=64),
    PERSONAL,
]
Speech = Annotated[str, Meta(description="Words that a person or an agent said."), PERSONAL]
Instant = Annotated[datetime, Meta(tz=True)]
"""A moment with its time zone; one without would be another moment on another machine."""
Milliseconds = Annotated[int, Meta(ge=0, description="Milliseconds.")]
CallMs = Annotated[int, Meta(ge=0, description="Milliseconds since this epoch's audio began.")]
