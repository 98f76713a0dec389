"""Models on the worker's own processor: where they are looked for, and the thread in which they work."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from turncall_media.errors import VendorUnusable
from turncall_media.stages import models
from turncall_media.stages.kinds import BuildContext


def context(models_dir: str) -> BuildContext:
    return BuildContext(rate_hz=8000, language="en", models_dir=models_dir)


def test_a_model_is_where_the_operator_put_it(tmp_path: Path) -> None:
    """In the folder of its vendor; a missing one is told with the place where it belongs."""
    (tmp_path / "whisper" / "small").mkdir(parents=True)
    assert models.found("whisper", "small", context(str(tmp_path))) == tmp_path / "whisper" / "small"
    with pytest.raises(VendorUnusable, match=str(tmp_path / "whisper" / "large")):
        models.found("whisper", "large", context(str(tmp_path)))


def test_without_a_folder_its_variable_is_named() -> None:
    """An operator learns what to set."""
    with pytest.raises(VendorUnusable, match="TURNCALL_MODELS_DIR, which is not set"):
        models.found("piper", "anna.onnx", context(""))


def test_a_missing_package_is_told_with_its_extra() -> None:
    """One that is there is not."""
    models.installed("piper", "asyncio")
    with pytest.raises(VendorUnusable, match=r"install turncall-media\[piper\]"):
        models.installed("piper", "no_such_package")


async def test_calls_queue_for_a_model() -> None:
    """One piece of work at a time, in their order, off the event loop; results come back to who asked."""
    at_work, order = threading.Lock(), []

    def work(number: int) -> int:
        assert at_work.acquire(blocking=False)
        time.sleep(0.002)  # the work of a model is no waiting of a coroutine
        order.append(number)
        at_work.release()
        return 10 * number

    results = await asyncio.gather(*(models.at_work("test", lambda n=n: work(n), 5.0) for n in range(4)))
    assert (results, order) == ([0, 10, 20, 30], [0, 1, 2, 3])


async def test_a_model_that_takes_too_long_is_not_waited_for() -> None:
    """The one who asked goes on; what has begun is finished before anybody else's work."""
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await models.at_work("slow", release.wait, 0.01)
    release.set()
    assert await models.at_work("slow", lambda: "next", 5.0) == "next"
