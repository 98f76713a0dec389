"""The numbers of the emulated carrier."""

from datetime import UTC, datetime

from turncall_phone.accounts import NumberBook

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_number_keeps_its_sid_across_restarts() -> None:
    """A product that stored a number's SID finds the number again in the next process."""
    first, second = (NumberBook().add("AC1", "+15550100100", NOW) for _ in range(2))
    assert first.sid == second.sid
    assert first.sid.startswith("PN")
    assert len(first.sid) == 34


def test_each_number_of_each_account_has_a_sid_of_its_own() -> None:
    """Neither two numbers of an account nor one number of two carriers' accounts share a SID."""
    book = NumberBook()
    sids = {book.add(account, number, NOW).sid for account, number in (("AC1", "+1555"), ("AC1", "+1556"))}
    sids.add(NumberBook().add("AC2", "+1555", NOW).sid)
    assert len(sids) == 3
