"""The path of a media socket."""

import pytest

from turncall_media.ingress.sockets import address

CALL = "call_" + "c" * 32


def test_call_epoch_and_token():
    """The three parts that the control plane wrote."""
    where = address(f"/media/{CALL}/3/abc")
    assert where is not None
    assert (where.call_id, where.epoch, where.token) == (CALL, 3, "abc")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/media",
        f"/media/{CALL}/1",
        f"/media/{CALL}/1/token/more",
        f"/media/{CALL}/one/token",
        f"/media/{CALL}/-1/token",
        f"/media/{CALL}/²/token",
        f"/media/{CALL}/{'9' * 10}/token",
        "/media/call_*/1/token",
        "/media/*/1/token",
        "/media/call_.>/1/token",
        f"//media/{CALL}/1/token",
    ],
)
def test_anything_else_is_no_address(path):
    """A path that is not ours is nobody's; wildcards of the bus cannot pass as an id."""
    assert address(path) is None
