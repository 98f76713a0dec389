"""The table of media workers."""

from turncall.client.shapes import WorkerView
from turncall.fleet import table
from turncall_proto.ids import WorkerId


def test_a_line_says_how_full_and_how_well_a_worker_is() -> None:
    """Columns line up, and the state names everything that keeps calls away."""
    well = WorkerView(
        id=WorkerId("wrk_1"),
        pool="calls",
        slots_total=20,
        slots_used=3,
        lag_ms=1.6,
        cpu_share=0.123,
        is_overloaded=False,
        is_draining=False,
        is_silent=False,
        last_beat_s=0.2,
        version="0.1.0",
        media_url="ws://a",
    )
    ill = WorkerView(
        id=WorkerId("wrk_22"),
        pool="calls",
        slots_total=5,
        slots_used=5,
        lag_ms=250.0,
        cpu_share=1.0,
        is_overloaded=True,
        is_draining=True,
        is_silent=True,
        last_beat_s=12.0,
        version="0.1.0",
        media_url="ws://b",
    )
    assert table([well, ill]) == [
        "WORKER  POOL   SLOTS  LAG     CPU   BEAT        STATE                         VERSION",
        "wrk_1   calls  3/20   2 ms    12%   0.2 s ago   ready                         0.1.0",
        "wrk_22  calls  5/5    250 ms  100%  12.0 s ago  silent, draining, overloaded  0.1.0",
    ]
