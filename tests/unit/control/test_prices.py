"""Usage gets a cost by the operator's list, to the micro, and none where the list says nothing."""

from pathlib import Path

import pytest

from turncall_control import prices
from turncall_control.prices import Price, Prices, PricesUnreadable, cost_micros, total_micros
from turncall_control.usage.repository import Sum


def used(**fields: object) -> Sum:
    whole = {"key": "", "kind": "llm", "vendor": "acme", "model": "large"}
    nothing = dict.fromkeys(("audio_ms", "input_tokens", "output_tokens", "characters"), 0)
    nothing |= dict.fromkeys(("input_audio_tokens", "output_audio_tokens"), 0)
    return Sum(**whole | nothing | fields)  # type: ignore[arg-type]


def listed(**fields: object) -> Prices:
    return Prices(currency="USD", prices=(Price(**{"kind": "llm", "vendor": "acme"} | fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        ({"audio_minute_micros": 4300}, {"audio_ms": 90_000}, 6450),
        ({"million_input_tokens_micros": 2_500_000}, {"input_tokens": 1000}, 2500),
        ({"million_output_tokens_micros": 10_000_000}, {"output_tokens": 7}, 70),
        ({"million_input_tokens_micros": 1_000_000}, {"input_tokens": 9, "input_audio_tokens": 4}, 9),
        (
            {"million_input_tokens_micros": 1_000_000, "million_input_audio_tokens_micros": 8_000_000},
            {"input_tokens": 9, "input_audio_tokens": 4},
            37,
        ),
        (
            {"million_output_tokens_micros": 1_000_000, "million_output_audio_tokens_micros": 0},
            {"output_tokens": 9, "output_audio_tokens": 4},
            5,
        ),
        ({"million_characters_micros": 30_000_000}, {"characters": 100}, 3000),
        ({"million_characters_micros": 1}, {"characters": 500_000}, 1),
        ({"million_characters_micros": 1}, {"characters": 499_999}, 0),
    ],
)
def test_each_unit_is_priced(price: dict[str, int], usage: dict[str, int], cost: int) -> None:
    """Minutes, tokens both ways and characters; halves of a micro are rounded up."""
    assert cost_micros(listed(**price), used(**usage)) == cost


def test_the_named_model_goes_before_all_others() -> None:
    """A price without a model is for every model that has none of its own."""
    book = Prices(
        currency="EUR",
        prices=(
            Price(kind="llm", vendor="acme", million_input_tokens_micros=1_000_000),
            Price(kind="llm", vendor="acme", model="large", million_input_tokens_micros=5_000_000),
        ),
    )
    assert cost_micros(book, used(input_tokens=10)) == 50
    assert cost_micros(book, used(input_tokens=10, model="small")) == 10


def test_what_is_not_listed_has_no_cost() -> None:
    """Unknown is not free: another vendor, another stage, an empty list."""
    assert cost_micros(listed(), used(vendor="other")) is None
    assert cost_micros(listed(), used(kind="tts")) is None
    assert cost_micros(prices.read(""), used()) is None
    assert total_micros([None, None]) is None
    assert total_micros([None, 3, 4]) == 7


def test_a_file_that_is_no_list_is_refused_by_name(tmp_path: Path) -> None:
    """The operator reads which file, and which field in it, is wrong."""
    file = tmp_path / "prices.json"
    file.write_text('{"currency": "USD", "prices": [{"kind": "llm", "vendor": "acme", "per_call": 3}]}')
    with pytest.raises(PricesUnreadable, match=r"prices\.json.*per_call"):
        prices.read(str(file))
    with pytest.raises(PricesUnreadable, match="absent"):
        prices.read(str(tmp_path / "absent.json"))
