"""The operator's prices of vendors: a JSON file, read once at the start. Amounts are micros, millionths of a unit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta, Struct

Micros = Annotated[int, Meta(ge=0, le=10**12)]
_MS_PER_MINUTE: Final = 60_000
_MILLION: Final = 1_000_000


class PricesUnreadable(Exception):
    """The file is missing or is no price list; the message says where."""


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one vendor takes in one stage. An empty ``model`` is the price of all that are not named."""

    kind: str
    vendor: str
    model: str = ""
    audio_minute_micros: Micros = 0
    million_input_tokens_micros: Micros = 0
    million_output_tokens_micros: Micros = 0
    million_characters_micros: Micros = 0
    million_input_audio_tokens_micros: Annotated[
        Micros | None, Meta(description="Of those input tokens that are sound; null: what the others cost.")
    ] = None
    million_output_audio_tokens_micros: Annotated[
        Micros | None, Meta(description="Of those output tokens that are sound; null: what the others cost.")
    ] = None


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price list. Without a currency there is none."""

    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="ISO 4217.")] | None = None
    prices: tuple[Price, ...] = ()


class Used(Protocol):
    """What a vendor did, in its own units."""

    @property
    def kind(self) -> str: ...
    @property
    def vendor(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def audio_ms(self) -> int: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def characters(self) -> int: ...
    @property
    def input_audio_tokens(self) -> int: ...
    @property
    def output_audio_tokens(self) -> int: ...


def read(path: str) -> Prices:
    """The list in the file; an empty list without a path. Raises `PricesUnreadable`."""
    if not path:
        return Prices()
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Prices)
    except (OSError, msgspec.DecodeError) as error:
        raise PricesUnreadable(f"TURNCALL_PRICES_FILE={path}: {error}") from error


def cost_micros(prices: Prices, used: Used) -> int | None:
    """What ``used`` costs, rounded to the nearest micro; None when the list does not price its vendor."""
    named = [price for price in prices.prices if (price.kind, price.vendor) == (used.kind, used.vendor)]
    price = next((price for model in (used.model, "") for price in named if price.model == model), None)
    if price is None:
        return None
    tokens_and_characters = (
        _tokens(
            used.input_tokens,
            used.input_audio_tokens,
            price.million_input_tokens_micros,
            price.million_input_audio_tokens_micros,
        )
        + _tokens(
            used.output_tokens,
            used.output_audio_tokens,
            price.million_output_tokens_micros,
            price.million_output_audio_tokens_micros,
        )
        + price.million_characters_micros * used.characters
    )
    scaled = price.audio_minute_micros * used.audio_ms * _MILLION + tokens_and_characters * _MS_PER_MINUTE
    divisor = _MS_PER_MINUTE * _MILLION
    return (2 * scaled + divisor) // (2 * divisor)


def _tokens(count: int, of_sound: int, micros: int, sound_micros: int | None) -> int:
    """What so many tokens cost, for a million of them each."""
    return (count - of_sound) * micros + of_sound * (micros if sound_micros is None else sound_micros)


def total_micros(costs: Iterable[int | None]) -> int | None:
    """The sum of what is priced; None when nothing is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
