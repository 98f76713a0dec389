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


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price list. Without a currency there is none."""

    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217.")] | None = None
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
        price.million_input_tokens_micros * used.input_tokens
        + price.million_output_tokens_micros * used.output_tokens
        + price.million_characters_micros * used.characters
    )
    scaled = price.audio_minute_micros * used.audio_ms * _MILLION + tokens_and_characters * _MS_PER_MINUTE
    divisor = _MS_PER_MINUTE * _MILLION
    return (2 * scaled + divisor) // (2 * divisor)


def total_micros(costs: Iterable[int | None]) -> int | None:
    """The sum of what is priced; None when nothing is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
