"""A value that hides itself."""

import copy
import pickle

import pytest
from msgspec import json

from turncall_runtime.secret import Secret


def test_secrets_do_not_show_in_text() -> None:
    """However it is turned into text, the value stays inside."""
    secret = Secret("hunter2")

    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), repr({"a": secret})]

    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"


def test_secrets_do_not_leave_by_serialisers() -> None:
    """JSON, pickle and copies refuse them."""
    with pytest.raises(TypeError):
        json.encode(Secret("hunter2"))
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("hunter2"))


def test_secrets_compare_by_value() -> None:
    """Equal text is equal, other types are not, and there is no hash to look one up by."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")
    with pytest.raises(TypeError):
        hash(Secret("a"))
