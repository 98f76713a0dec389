"""Sealed boxes."""

import subprocess
import sys
from base64 import b64decode, b64encode

import pytest

from turncall_runtime.seal import BadKey, CannotOpen, Sealer, new_keypair, open_sealed, public_key_of, seal
from turncall_runtime.secret import Secret


def test_what_is_sealed_opens_with_the_private_key() -> None:
    """The text comes back, hidden, whatever characters it holds."""
    pair = new_keypair()

    assert open_sealed(seal("sk-ключ", pair.public_key), [pair.private_key]) == Secret("sk-ключ")


def test_two_keys_live_while_they_rotate() -> None:
    """What was sealed to the older key still opens after the newer one came."""
    older, newer = new_keypair(), new_keypair()
    both = [newer.private_key, older.private_key]

    assert open_sealed(seal("old", older.public_key), both) == Secret("old")
    assert open_sealed(seal("new", newer.public_key), both) == Secret("new")


def test_a_named_text_is_sealed_once() -> None:
    """The same credential gets the same sealed text; another name, another text or another sealer does not."""
    pair = new_keypair()
    sealer = Sealer(pair.public_key)
    once = sealer.seal("one deepgram", "sk")
    assert sealer.seal("one deepgram", "sk") == once
    others = [
        sealer.seal("two deepgram", "sk"),
        sealer.seal("one deepgram", "sk2"),
        Sealer(pair.public_key).seal("", ""),
    ]
    assert len({once, *others}) == 4
    assert [open_sealed(text, [pair.private_key]).reveal() for text in (once, *others)] == ["sk", "sk", "sk2", ""]


def test_a_sealer_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a bounded number of texts."""
    monkeypatch.setattr("turncall_runtime.seal.SEALED_AT_MOST", 2)
    sealer = Sealer(new_keypair().public_key)
    first, *_ = (sealer.seal(name, "sk") for name in ("a", "b"))
    assert sealer.seal("a", "sk") == first
    sealer.seal("c", "sk")
    assert sealer.seal("a", "sk") != first


def test_sealing_twice_gives_different_texts() -> None:
    """Equal secrets do not show that they are equal."""
    pair = new_keypair()

    assert seal("same", pair.public_key) != seal("same", pair.public_key)


def test_other_keys_open_nothing() -> None:
    """A retired key's box stays shut, and the error says so without the text."""
    with pytest.raises(CannotOpen, match="retired"):
        open_sealed(seal("x", new_keypair().public_key), [new_keypair().private_key])
    with pytest.raises(CannotOpen):
        open_sealed(seal("x", new_keypair().public_key), [])


def test_altered_boxes_open_nothing() -> None:
    """One flipped bit anywhere is noticed."""
    pair = new_keypair()
    sealed = b64decode(seal("x", pair.public_key))
    for place in (0, 31, 32, len(sealed) - 1):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(CannotOpen):
            open_sealed(b64encode(altered).decode(), [pair.private_key])
    for text in ("", "not base64!", b64encode(sealed[:40]).decode()):
        with pytest.raises(CannotOpen):
            open_sealed(text, [pair.private_key])


@pytest.mark.parametrize("key", ["", "x", "!!!!", b64encode(b"short").decode(), b64encode(b"l" * 33).decode()])
def test_malformed_keys_are_told_apart(key: str) -> None:
    """A wrong configuration is not mistaken for a wrong box, and the key is not shown."""
    with pytest.raises(BadKey):
        seal("x", key)
    with pytest.raises(BadKey):
        open_sealed(seal("x", new_keypair().public_key), [Secret(key)])


def test_the_public_half_is_found_from_the_private_one() -> None:
    """An operator who keeps the private key needs no second note."""
    pair = new_keypair()

    assert public_key_of(pair.private_key) == pair.public_key


def test_the_command_prints_a_pair_that_fits() -> None:
    """An operator pastes two lines into the environment, and what one plane seals the other opens."""
    command = [sys.executable, "-m", "turncall_runtime.seal"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    lines = dict(line.split("=", 1) for line in printed.stdout.splitlines())

    assert list(lines) == ["TURNCALL_SEAL_PUBLIC_KEY", "TURNCALL_SEAL_PRIVATE_KEYS"]
    private = Secret(lines["TURNCALL_SEAL_PRIVATE_KEYS"])
    assert open_sealed(seal("x", lines["TURNCALL_SEAL_PUBLIC_KEY"]), [private]) == Secret("x")
    assert not printed.stderr
