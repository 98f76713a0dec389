"""Signatures by Standard Webhooks."""

from base64 import b64decode, b64encode

import pytest

from turncall_egress.signing import SignatureRefused, new_secret, signed_headers, verify

PUBLISHED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
BODY = b'{"type":"call.completed","timestamp":"2026-01-01T00:00:00Z","data":{"id":"call_1"}}'


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp_s", "body", "signature"),
    [
        # The vector of the reference libraries.
        (
            PUBLISHED_SECRET,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (OTHER_SECRET, "msg_turncall_1", 1767225600, BODY, "v1,QOe6pa0K9oS9R8eTduIGf1GFnsgdze+c94xxrcIi9pE="),
    ],
)
def test_vectors(secret: str, message_id: str, timestamp_s: int, body: bytes, signature: str) -> None:
    """What others compute for a known message is what we send, and what we accept."""
    headers = signed_headers([secret], message_id, timestamp_s, body)

    assert headers == {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature,
    }
    verify([secret], headers, body, now_s=timestamp_s)


def test_secrets_rotate_without_a_gap() -> None:
    """While two secrets sign, a receiver who knows either one accepts; afterwards only the one that signs counts."""
    both = signed_headers([PUBLISHED_SECRET, OTHER_SECRET], "msg_1", 100, BODY)
    verify([PUBLISHED_SECRET], both, BODY, now_s=100)
    verify([OTHER_SECRET], both, BODY, now_s=100)
    verify([new_secret(), OTHER_SECRET], both, BODY, now_s=100)

    with pytest.raises(SignatureRefused):
        verify([PUBLISHED_SECRET], signed_headers([OTHER_SECRET], "msg_1", 100, BODY), BODY, now_s=100)


@pytest.mark.parametrize(("now_s", "accepted"), [(-200, True), (400, True), (-201, False), (400.5, False), (0, True)])
def test_old_and_future_messages_are_refused(now_s: float, accepted: bool) -> None:
    """A recorded message is worthless after five minutes, and so is one from a clock far ahead."""
    headers = signed_headers([PUBLISHED_SECRET], "msg_1", 100, BODY)
    if accepted:
        verify([PUBLISHED_SECRET], headers, BODY, now_s)
    else:
        with pytest.raises(SignatureRefused, match="timestamp"):
            verify([PUBLISHED_SECRET], headers, BODY, now_s)


def test_any_change_is_noticed() -> None:
    """A thousand single-bit changes of the signature, the body, and other headers: none passes."""
    headers = signed_headers([PUBLISHED_SECRET], "msg_1", 100, BODY)
    raw = b64decode(headers["webhook-signature"].removeprefix("v1,"))
    forged = [
        (headers | {"webhook-signature": "v1," + b64encode(_flipped(raw, bit)).decode()}, BODY)
        for bit in range(len(raw) * 8)
    ]
    forged += [(headers, _flipped(BODY, bit)) for bit in range(len(BODY) * 8)]
    forged += [(headers | {"webhook-id": f"msg_{number}"}, BODY) for number in range(2, 42)]
    forged += [(headers | {"webhook-timestamp": str(100 + number)}, BODY) for number in range(1, 41)]

    assert len(forged) >= 1000
    for changed, body in forged:
        with pytest.raises(SignatureRefused):
            verify([PUBLISHED_SECRET], changed, body, now_s=100)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1e2"},
        {"webhook-timestamp": "١٠٠"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,g0hM9SsE"},
        {"webhook-signature": "v1,ключ"},
    ],
)
def test_malformed_headers_are_refused(change: dict[str, str]) -> None:
    """Whatever stands in the headers, the answer is a refusal and not an accident."""
    headers = signed_headers([PUBLISHED_SECRET], "msg_1", 100, BODY) | change
    with pytest.raises(SignatureRefused):
        verify([PUBLISHED_SECRET], headers, BODY, now_s=100)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "whsec_" + b64encode(b"x" * 65).decode()]
)
def test_malformed_secrets_never_sign(secret: str) -> None:
    """An empty or short secret would be a signature that anybody can make."""
    with pytest.raises(ValueError, match="secret"):
        signed_headers([secret], "msg_1", 100, BODY)


@pytest.mark.parametrize("message_id", ["", "a.b"])
def test_ids_cannot_shift_the_signed_text(message_id: str) -> None:
    """The dot separates; an id that holds one could move bytes between id, time and body."""
    with pytest.raises(ValueError, match="id"):
        signed_headers([PUBLISHED_SECRET], message_id, 100, BODY)


def test_new_secrets_are_random_and_well_formed() -> None:
    """Each is another, and signs."""
    assert new_secret() != new_secret()
    assert len(b64decode(new_secret().removeprefix("whsec_"))) == 32


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
