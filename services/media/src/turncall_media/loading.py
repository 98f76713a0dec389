"""Vendors' code, which takes seconds to import: loaded in threads, for those who need it and then for everybody."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from turncall_media import registry
from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import Kind
from turncall_proto.agent import AgentSpec
from turncall_runtime import logs

_log = logs.logger(__name__)

LOAD_WITHIN_S: Final = 30.0
SETTLED_S: Final = 5.0
"""What a worker that starts leaves to the calls that waited for it."""
BUSY_AGAIN_S: Final = 1.0
REST: Final = 3.0
"""Rests for each second of loading, so that the CPU figure turns no call away."""

Vendor = tuple[Kind, str]
Ready = dict[Kind, set[str]]
"""The vendors that are installed here, by kind."""


async def load_for(agent: AgentSpec) -> None:
    """Returns when the code of all of an agent's vendors is loaded; who cannot be is told when it is built.

    0.2 ms when it was loaded before. Raises `VendorUnusable` after `LOAD_WITHIN_S`.
    """
    try:
        async with asyncio.timeout(LOAD_WITHIN_S):
            await asyncio.to_thread(_load, vendors_of(agent))
    except TimeoutError as error:
        raise VendorUnusable(f"the code of the agent's vendors was not loaded within {LOAD_WITHIN_S:g} s") from error


async def load_rest(ready: Ready, kinds: Iterable[Kind], is_idle: Callable[[], bool]) -> None:
    """Loads every vendor, one by one, while ``is_idle``, so that no call has to wait for it. Takes those that turn out
    to be broken out of ``ready``."""
    waiting = [(kind, vendor) for kind in kinds for vendor in sorted(ready[kind])]
    rest_s = SETTLED_S
    while waiting:
        await asyncio.sleep(rest_s)
        rest_s = BUSY_AGAIN_S
        if is_idle():
            began_s = time.monotonic()
            await _keep_if_sound(ready, *waiting.pop(0))
            rest_s = REST * (time.monotonic() - began_s)


async def _keep_if_sound(ready: Ready, kind: Kind, vendor: str) -> None:
    try:
        await asyncio.to_thread(registry.warm, kind, vendor)
    except VendorUnusable as error:
        ready[kind].discard(vendor)
        _log.warning("vendor.unusable", kind=kind, vendor=vendor, why=str(error))


def vendors_of(agent: AgentSpec) -> tuple[Vendor, ...]:
    """Whose code a call of this agent may need, fallbacks included."""
    return tuple((kind, ref.vendor) for kind, _, ref in agent.pipeline.places())


def _load(vendors: Iterable[Vendor]) -> None:
    for kind, vendor in vendors:
        try:
            registry.warm(kind, vendor)
        except VendorUnusable:
            continue  # its stage may have a fallback
