"""What Python's collector looks through once a process serves."""

import gc
from collections.abc import Iterator

import pytest

from turncall_runtime import garbage


class _Kept:
    pass


@pytest.fixture
def collector() -> Iterator[None]:
    """Gives the collector back as it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_what_lasts_is_not_looked_through_and_new_garbage_still_goes() -> None:
    """What was alive is out of the collector's sight; a cycle made afterwards is found."""
    lasting = _Kept()
    garbage.spare_the_lasting()
    assert not any(one is lasting for one in gc.get_objects())
    later = _Kept()
    later.itself = later  # type: ignore[attr-defined]
    del later
    assert gc.collect() >= 1
