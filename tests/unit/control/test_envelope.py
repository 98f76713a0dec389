"""Envelope encryption: what opens, and everything that must not."""

from base64 import b64encode
from uuid import UUID

import pytest

from turncall_control import envelope
from turncall_control.envelope import CannotDecrypt, parse_master_keys
from turncall_runtime.secret import Secret

PROJECT, OTHER = UUID(int=1), UUID(int=2)
OLD, NEW = (f"k{n}:{b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
KEY = bytes(range(32))


def boxed(text: str = "sk-secret-of-a-vendor", purpose: str = "vendor/openai") -> bytes:
    """A secret in its box."""
    return envelope.encrypt(KEY, 3, PROJECT, purpose, Secret(text))


@pytest.mark.parametrize("text", ["", "sk-1", "naïve ✓", "x" * 10_000])
def test_box_gives_back_what_was_put_in(text):
    """Any text survives, and the box says its key and its purpose but not the text."""
    box = boxed(text)
    assert envelope.decrypt(KEY, PROJECT, box) == Secret(text)
    assert envelope.key_number(box) == 3
    assert envelope.purpose_of(box) == "vendor/openai"
    assert not text or text.encode() not in box


def test_boxes_of_one_secret_differ():
    """Nobody can tell from two boxes that they hold the same."""
    assert boxed() != boxed()


def test_no_altered_box_opens():
    """Every single byte is authenticated, the clear ones too, and no shortened box opens."""
    box = boxed()
    for at in range(len(box)):
        with pytest.raises(CannotDecrypt):
            envelope.decrypt(KEY, PROJECT, box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :])
        with pytest.raises(CannotDecrypt):
            envelope.decrypt(KEY, PROJECT, box[:at])


def test_box_opens_for_its_project_and_key_only():
    """A box copied into another project, or read with another key, is garbage."""
    with pytest.raises(CannotDecrypt):
        envelope.decrypt(KEY, OTHER, boxed())
    with pytest.raises(CannotDecrypt):
        envelope.decrypt(KEY[::-1], PROJECT, boxed())


def test_first_master_key_wraps_and_all_unwrap():
    """While keys rotate, what the old one wrapped still opens, and new wrapping is under the new one."""
    old = envelope.wrap(parse_master_keys(OLD), PROJECT, 1, KEY)
    both = parse_master_keys(f"{NEW},{OLD}")
    assert envelope.unwrap(both, PROJECT, old) == KEY
    assert envelope.wrap(both, PROJECT, 1, KEY).master == "k2"
    with pytest.raises(CannotDecrypt, match="k1 is not in TURNCALL_MASTER_KEYS"):
        envelope.unwrap(parse_master_keys(NEW), PROJECT, old)


def test_wrapped_key_is_bound_to_project_and_number():
    """A wrapped key that was moved to another row does not open there."""
    masters = parse_master_keys(OLD)
    wrapped = envelope.wrap(masters, PROJECT, 1, KEY)
    with pytest.raises(CannotDecrypt):
        envelope.unwrap(masters, OTHER, wrapped)
    moved = envelope.WrappedKey(number=2, master=wrapped.master, wrapped=wrapped.wrapped)
    with pytest.raises(CannotDecrypt):
        envelope.unwrap(masters, PROJECT, moved)


@pytest.mark.parametrize("text", ["", "k1", f"{OLD},{OLD}", "k 1:AAAA", "k1:AAAA", "k1:%%%"])
def test_malformed_master_keys_are_refused_without_showing_them(text):
    """The refusal names the key's id at most."""
    with pytest.raises(ValueError, match=r"key") as refused:
        parse_master_keys(text)
    assert "AAAA" not in str(refused.value)
