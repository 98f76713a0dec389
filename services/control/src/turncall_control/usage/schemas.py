"""Usage as the API shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from turncall_control.http.fields import Moment

Cost = Annotated[
    int | None, Meta(description="Millionths of the currency, by the operator's prices of today; null without one.")
]


class VendorUsage(Struct, frozen=True, kw_only=True):
    """What one vendor did in one stage, in its own units."""

    kind: Annotated[str, Meta(description="stt, llm, tts or speech.")]
    vendor: str
    model: str
    audio_ms: int
    input_tokens: int
    output_tokens: int
    characters: int
    input_audio_tokens: Annotated[int, Meta(description="Those of the input tokens that were sound.")]
    output_audio_tokens: Annotated[int, Meta(description="Those of the output tokens that were sound.")]
    cost_micros: Cost


class CallUsage(Struct, frozen=True, kw_only=True):
    """What a call used. A vendor's part is known once the worker that used it has closed its epoch."""

    vendors: tuple[VendorUsage, ...]
    currency: str | None
    cost_micros: Cost


class UsageRow(Struct, frozen=True, kw_only=True):
    """What the calls of one day, or of one agent, used; or all calls of one vendor."""

    key: Annotated[
        str, Meta(description="The day in UTC (2026-11-22), the vendor, or the agent's id: empty for inline agents.")
    ]
    calls: int
    vendors: tuple[VendorUsage, ...]
    cost_micros: Cost


class UsageSummary(Struct, frozen=True, kw_only=True):
    """A project's usage between two moments, by key."""

    since: Moment
    until: Moment
    rows: tuple[UsageRow, ...]
    currency: str | None
    cost_micros: Cost
