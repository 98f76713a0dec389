"""Where recordings live."""

import pytest

from turncall_blobs import BadKey, keys, open_store
from turncall_blobs.store import checked_key, checked_prefix
from turncall_proto.ids import CallId, ProjectId

PROJECT, CALL = ProjectId("prj_1"), CallId("call_1")


def test_parts_sort_in_the_order_of_the_sound() -> None:
    """Listing a call's recording gives its parts in the order to play them, over epochs too."""
    parts = [keys.recording_part(PROJECT, CALL, epoch, index) for epoch in (1, 2, 10) for index in (0, 9, 10, 123456)]

    assert parts == sorted(parts)
    assert parts[0] == "recordings/prj_1/call_1/0001/000000.wav"


def test_a_project_and_a_call_can_be_removed_whole() -> None:
    """Every part lies under its call's prefix, and that under its project's; each is a valid key or prefix."""
    part = keys.recording_part(PROJECT, CALL, 1, 0)

    assert checked_key(part).startswith(checked_prefix(keys.recording(PROJECT, CALL)))
    assert keys.recording(PROJECT, CALL).startswith(checked_prefix(keys.recordings(PROJECT)))


@pytest.mark.parametrize(
    "identity", ["../prj_2", "prj_1/../prj_2", "a b", "a\nb", "", "a/", "./a", "ä", "a" * 201, "a\x00b"]
)
def test_identities_that_could_lead_elsewhere_are_no_keys(identity: str) -> None:
    """A part's key is refused where an id is not what an id looks like."""
    with pytest.raises(BadKey):
        checked_prefix(f"{identity}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/blobs",
        "file://relative/folder",
        "file:relative",
        "http://example.com/bucket",
        "s3://",
        "s3://bucket/with/a/path",
        "s3://bucket?endpoint=http://x&colour=red",
    ],
)
async def test_other_addresses_are_refused(url: str) -> None:
    """A mistake in the address is an error at the start, not a store somewhere else."""
    with pytest.raises(ValueError, match="blobs URL"):
        async with open_store(url, "key", "secret"):
            raise AssertionError("it opened")


async def test_s3_without_keys_is_refused() -> None:
    """Keys are never taken from the machine's own configuration by accident."""
    with pytest.raises(ValueError, match="key"):
        async with open_store("s3://bucket"):
            raise AssertionError("it opened")
