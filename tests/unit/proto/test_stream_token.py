"""Tokens of media sockets: what opens a call and epoch, and what does not."""

import random
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncall_proto.ids import CallId
from turncall_proto.stream_token import LIFETIME_S, StreamKey, TokenRefused, check, mint, parse_keys

CALL = CallId("call_0193a5c27b8e7c4d9f00112233445566")
OLD = StreamKey(key_id="k1", secret=b"an old secret of 32 bytes ......")
NEW = StreamKey(key_id="k2", secret=b"a new secret of 32 bytes .......")
NOW_S = 1_795_000_000.5


def test_a_token_opens_its_call_and_epoch() -> None:
    """Minted and checked with the same key, within its time."""
    check([OLD], mint([OLD], CALL, 1, NOW_S), CALL, 1, NOW_S + 1)


def test_a_token_is_one_path_segment() -> None:
    """It survives in a URL path without escaping, and is short."""
    token = mint([OLD], CALL, 1, NOW_S)

    assert len(token) == 38
    assert all(character.isalnum() or character in "-_" for character in token)


def test_a_thousand_mutations_open_nothing() -> None:
    """One character changed, left out, added or exchanged: no other spelling of a token is one."""
    seed = random.Random(20261122)
    token = mint([OLD], CALL, 1, NOW_S)
    refused = 0
    while refused < 1000:
        at = seed.randrange(len(token))
        other = seed.choice(string.printable)
        mutated = seed.choice(
            [token[:at] + other + token[at + 1 :], token[:at] + token[at + 1 :], token[:at] + other + token[at:]]
        )
        if mutated != token:
            with pytest.raises(TokenRefused):
                check([OLD], mutated, CALL, 1, NOW_S)
            refused += 1


def test_no_other_last_character_opens() -> None:
    """The last character carries two bits of the tag; the other four are not free."""
    token = mint([OLD], CALL, 1, NOW_S)
    for other in set(string.ascii_letters + string.digits + "-_") - {token[-1]}:
        with pytest.raises(TokenRefused):
            check([OLD], token[:-1] + other, CALL, 1, NOW_S)


@pytest.mark.parametrize(("call", "epoch"), [(CALL, 2), (CallId("call_other"), 1)])
def test_a_token_opens_nothing_else(call: CallId, epoch: int) -> None:
    """Another call or epoch is refused."""
    with pytest.raises(TokenRefused):
        check([OLD], mint([OLD], CALL, 1, NOW_S), call, epoch, NOW_S)


def test_a_token_expires() -> None:
    """It opens until its last second and not after."""
    token = mint([OLD], CALL, 1, NOW_S)

    check([OLD], token, CALL, 1, NOW_S + LIFETIME_S - 1)
    with pytest.raises(TokenRefused, match="expired"):
        check([OLD], token, CALL, 1, NOW_S + LIFETIME_S)


def test_keys_rotate_without_a_gap() -> None:
    """Tokens of the old key open while both keys live; once it is gone they do not."""
    old = mint([OLD], CALL, 1, NOW_S)
    new = mint([NEW, OLD], CALL, 1, NOW_S)

    check([NEW, OLD], old, CALL, 1, NOW_S)
    check([NEW, OLD], new, CALL, 1, NOW_S)
    check([NEW], new, CALL, 1, NOW_S)
    with pytest.raises(TokenRefused):
        check([NEW], old, CALL, 1, NOW_S)


def test_a_key_of_the_same_name_with_another_secret_does_not_open() -> None:
    """The name alone proves nothing."""
    impostor = StreamKey(key_id="k1", secret=b"somebody else's secret .........")
    with pytest.raises(TokenRefused):
        check([OLD], mint([impostor], CALL, 1, NOW_S), CALL, 1, NOW_S)


@given(bit=st.integers(0, 28 * 8 - 1))
def test_no_bit_can_be_changed(bit: int) -> None:
    """Tampering with the expiry, the key's name or the signature is refused."""
    data = bytearray(urlsafe_b64decode(mint([OLD], CALL, 1, NOW_S) + "=="))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TokenRefused):
        check([OLD], urlsafe_b64encode(data).rstrip(b"=").decode(), CALL, 1, NOW_S)


@given(token=st.text(max_size=60))
def test_any_text_is_refused_and_nothing_else_happens(token: str) -> None:
    """What a stranger types into the path raises one kind of error."""
    with pytest.raises(TokenRefused):
        check([OLD], token, CALL, 1, NOW_S)


def test_keys_are_read_in_order() -> None:
    """The first key of the setting is the one that mints."""
    keys = parse_keys("k2:a secret of enough bytes, k1:another: secret with a colon")

    assert keys == (
        StreamKey(key_id="k2", secret=b"a secret of enough bytes"),
        StreamKey(key_id="k1", secret=b"another: secret with a colon"),
    )


@pytest.mark.parametrize(
    "text", ["", " , ", "k1", "k1:short", ":a secret of enough bytes", "toolongid:a secret of 16 bytes"]
)
def test_unusable_keys_are_refused(text: str) -> None:
    """No key, a nameless one, a long name or a short secret."""
    with pytest.raises(ValueError, match="stream key"):
        parse_keys(text)
