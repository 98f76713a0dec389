"""Which media URLs the carrier connects to."""

import pytest

from turncall_phone.handshake import HandshakeFailed, check_stream_url


@pytest.mark.parametrize(
    "url",
    [
        "wss://media.example/m/1",
        "wss://media.example:443/m",
        "ws://127.0.0.1:8100/m",
        "ws://localhost:8100",
        "wss://[::1]:9/m",
    ],
)
def test_urls_that_are_connected_to(url: str) -> None:
    """wss on its own port anywhere; ws and any port on loopback."""
    check_stream_url(url)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("wss://media.example/m?token=1", 31920),
        ("ws://127.0.0.1:8100/m?", 31920),
        ("https://media.example/m", 31922),
        ("ws://media.example/m", 31922),
        ("wss://media.example:8443/m", 31923),
        ("wss://media.example:port/m", 31923),
        ("/m", 31923),
        ("", 31923),
    ],
)
def test_urls_that_are_refused_with_their_code(url: str, code: int) -> None:
    """A query string, a foreign scheme and a malformed address have their own codes."""
    with pytest.raises(HandshakeFailed) as refused:
        check_stream_url(url)

    assert refused.value.code == code
