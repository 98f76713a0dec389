"""Sentences about wrong fields: what may stand there, what was probably meant."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct
from multidict import MultiDict

from turncall_control.errors import Invalid
from turncall_control.http.body import decoded
from turncall_control.http.guard import check_choices, check_query
from turncall_control.keys.schemas import KeyNew


class Dog(Struct, tag_field="kind", tag="dog", forbid_unknown_fields=True):
    """A pet."""

    barks: Literal["much", "little"] = "little"


class Cat(Struct, tag_field="kind", tag="cat", forbid_unknown_fields=True):
    """Another one."""

    sleeps_h: int = 20


class House(Struct, forbid_unknown_fields=True):
    """What is asked for."""

    number: Annotated[str, Meta(pattern="^[0-9]+$", description="The number on the door.", examples=["17"])] = "1"
    zip_code: Annotated[str, Meta(pattern="^[0-9]{5}$")] | None = None
    country: Annotated[Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None, Meta(description="Two letters.")] = None
    pets: tuple[Dog | Cat, ...] = ()
    rooms: dict[str, Dog] = {}


def complaint(body: Any, kind: Any = House) -> tuple[str, str]:
    """Which field is wrong, and what is said of it."""
    with pytest.raises(Invalid) as refused:
        decoded(msgspec.json.encode(body), kind)
    (fault,) = refused.value.faults
    return fault.field, fault.message


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"pets": [{"kind": "dog", "barks": "loudly"}]}, "pets[0].barks", "It is one of little, much"),
        ({"rooms": {"attic": {"kind": "dog", "barks": ""}}}, "rooms[...].barks", "It is one of little, much"),
        ({"pets": [{"kind": "bird"}]}, "pets[0].kind", "It is one of cat, dog"),
        ({"nummer": "1"}, "nummer", "There is no such field; did you mean number?"),
        ({"xyz": 1}, "xyz", "There is no such field; there are country, number, pets, rooms, zip_code"),
        ({"pets": [{"kind": "cat", "sleeps": 1}]}, "pets[0].sleeps", "There is no such field; did you mean sleeps_h?"),
        (
            {"number": "one"},
            "number",
            "It has not the form that is needed: The number on the door. Such as 17",
        ),
        ({"zip_code": "1"}, "zip_code", "Expected `str` matching regex '^[0-9]{5}$'"),
        ({"country": "Italy"}, "country", "It has not the form that is needed: Two letters."),
        ({"number": 1}, "number", "Expected `str`, got `int`"),
    ],
)
def test_a_wrong_field_is_told_what_may_stand_there(body: Any, field: str, message: str) -> None:
    """Words, members and names are listed or suggested, forms described; what has no better words keeps its own."""
    assert complaint(body) == (field, message)


def test_roles_are_named() -> None:
    """An enumeration of the API's."""
    assert complaint({"name": "ci", "role": "owner"}, KeyNew) == ("role", "It is one of admin, developer, viewer")


def test_a_misspelt_parameter_is_suggested_and_a_wrong_word_gets_its_choices() -> None:
    """Of queries too."""
    with pytest.raises(Invalid) as refused:
        check_query({"status", "direction"}, ["staus"])
    assert [fault.message for fault in refused.value.faults] == ["There is no such parameter; did you mean status?"]
    with pytest.raises(Invalid) as refused:
        check_choices({"status": ("ringing", "in_progress")}, MultiDict([("status", "in-progress")]))
    assert [fault.message for fault in refused.value.faults] == ["It is one of ringing, in_progress"]
