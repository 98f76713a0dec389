"""Ids: typed, ordered in time, and the same on every replica where they must be."""

import pytest

from turncall_proto import ids


def test_an_id_reads_back() -> None:
    """The wire form and the UUID of the database are the same id."""
    text = ids.mint(ids.AGENT)

    assert text.startswith("agt_")
    assert ids.written(ids.AGENT, ids.parsed(ids.AGENT, text)) == text


def test_later_ids_sort_later() -> None:
    """UUIDv7 keeps the order of minting, within a millisecond too."""
    minted = [ids.mint(ids.CALL) for _ in range(1000)]

    assert minted == sorted(minted)
    assert len(set(minted)) == 1000
    assert ids.parsed(ids.CALL, minted[0]).version == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "call_",
        "agt_0193a5c27b8e7c4d9f00112233445566",
        "0193a5c27b8e7c4d9f00112233445566",
        "call_0193a5c2-7b8e-7c4d-9f00-112233445566",
        "call_0193a5c27b8e7c4d9f0011223344556",
        "call_0193a5c27b8e7c4d9f0011223344556g",
        "call_call_0193a5c27b8e7c4d9f00112233445566",
    ],
)
def test_what_is_no_id_of_the_kind_is_malformed(text: str) -> None:
    """Another kind, another length and other digits are refused, and the error says what was expected."""
    with pytest.raises(ids.MalformedId, match="call_<32 hex digits>"):
        ids.parsed(ids.CALL, text)


def test_an_inbound_call_has_one_id_everywhere() -> None:
    """Replicas derive it from what the carrier said; it never changes, or a repeated webhook makes a second call."""
    call = ids.inbound_call_id("twilio", "AC1", "CA1")

    assert call == "call_b7d7dfdcaa6a5c798527f0fe2dc55aaf"
    others = {("other", "AC1", "CA1"), ("twilio", "AC2", "CA1"), ("twilio", "AC1", "CA2")}
    assert call not in {ids.inbound_call_id(*other) for other in others}
