"""A model's calls have arguments that are JSON objects."""

import pytest

from turncall_media.answers import Arguments, NoAnswer


def test_arguments_may_come_in_pieces() -> None:
    """Those of two calls do not mix."""
    arguments = Arguments()
    for call, piece in ((0, '{"day"'), (1, "{"), (0, ': "monday"}'), (1, "}")):
        arguments.add(call, piece)
    arguments.check()


@pytest.mark.parametrize("written", ['{"day": "mon', "[1]", "monday", ""])
def test_what_is_no_object_is_no_answer(written: str) -> None:
    """However it is wrong."""
    arguments = Arguments()
    arguments.add(0, written)
    with pytest.raises(NoAnswer, match="no object"):
        arguments.check()


def test_some_protocols_leave_empty_arguments_out() -> None:
    """There nothing means no arguments, but half of an object is as wrong as elsewhere."""
    arguments = Arguments()
    arguments.add(0, "")
    arguments.check(may_be_missing=True)
    arguments.add(1, "{")
    with pytest.raises(NoAnswer):
        arguments.check(may_be_missing=True)
