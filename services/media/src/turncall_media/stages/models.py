"""Models on the worker's own processor: where they lie, and the thread in which they work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import BuildContext

LOAD_WITHIN_S: Final = 60.0


def installed(vendor: str, package: str) -> None:
    """Raises `VendorUnusable` unless ``package`` is there, which the extra of the vendor's name brings."""
    if find_spec(package) is None:
        raise VendorUnusable(f"vendor {vendor!r} is not installed on this worker: install turncall-media[{vendor}]")


def found(vendor: str, name: str, context: BuildContext) -> Path:
    """The model ``name`` of ``vendor`` in the operator's folder. Raises `VendorUnusable`: nothing is downloaded."""
    path = Path(context.models_dir) / vendor / name
    if not context.models_dir or not path.exists():
        place = path if context.models_dir else f"TURNCALL_MODELS_DIR, which is not set, under {vendor}/{name}"
        raise VendorUnusable(f"vendor {vendor!r} has no model {name!r} on this worker: put it into {place}")
    return path


async def at_work[ResultT](vendor: str, work: Callable[[], ResultT], within_s: float) -> ResultT:
    """What ``work`` returns, done in the one thread of ``vendor``: calls queue for it. Raises what it raises, and
    `TimeoutError`; work that has begun goes on all the same."""
    async with asyncio.timeout(within_s):
        return await asyncio.get_running_loop().run_in_executor(_thread(vendor), work)


@cache
def _thread(vendor: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=vendor)
