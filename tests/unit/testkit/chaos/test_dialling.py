"""What the dialling drill calls a miss."""

from turncall_proto.ids import CallId
from turncall_testkit.chaos.dialling import NEVER_PLACED, Asked, Became, Dialled

BUSY = ("busy", "customer_busy")
ASKED = Asked(call_id=CallId("call_1"), person="+14150000001", fits=BUSY)


def became(placed: int, ended: tuple[str, str], stated: int = 1) -> Became:
    return Became(asked=ASKED, placed=placed, ended=ended, stated=stated)


def test_calls_that_end_as_they_were_are_no_miss() -> None:
    """Placed once, or never."""
    dialled = Dialled(became=(became(1, BUSY), became(0, NEVER_PLACED)), killed=2)
    assert dialled.faults() == []
    assert (dialled.measures()["placed"], dialled.measures()["never placed"], dialled.measures()["rung twice"]) == (
        1,
        1,
        0,
    )


def test_each_way_to_go_wrong_is_a_miss() -> None:
    """A second ring, an end that was not, a doubled word, and nobody killed."""
    wrong = (became(2, BUSY), became(0, BUSY), became(1, BUSY, stated=2))
    dialled = Dialled(became=wrong, killed=0)
    assert len(dialled.faults()) == 4
    assert dialled.measures()["rung twice"] == 1
