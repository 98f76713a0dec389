"""Whether processes grow: memory and descriptors of each, sampled while calls come and go."""

import asyncio
from collections.abc import Callable
from statistics import median
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from turncall import procfs

SAMPLE_EVERY_S: Final = 2.0
LEAST_SAMPLES: Final = 60
"""A process that did not live for two minutes says nothing about growth."""
WARM_SHARE: Final = 0.25
"""Of a process's life, in which caches fill and pools open."""
FLAT_SHARE: Final = 0.10
FLAT_BYTES: Final = 12 * 1024 * 1024
FLAT_DESCRIPTORS: Final = 10

Sample = tuple[int, int]
"""Bytes in memory, descriptors: of a process and all its children."""


class Growth(Struct, frozen=True, kw_only=True):
    """One process, by name and id, from after its warm-up to its end: medians of the first and of the last quarter."""

    name: str
    samples: int
    from_bytes: int
    to_bytes: int
    descriptors_gained: int

    @property
    def share(self) -> float:
        """Memory gained, as a part of what there was."""
        return (self.to_bytes - self.from_bytes) / max(1, self.from_bytes)

    @property
    def is_flat(self) -> bool:
        """Whether what was gained is noise."""
        is_small = self.share <= FLAT_SHARE or self.to_bytes - self.from_bytes <= FLAT_BYTES
        return is_small and self.descriptors_gained <= FLAT_DESCRIPTORS

    def __str__(self) -> str:
        return (
            f"{self.name} grew from {self.from_bytes >> 20} to {self.to_bytes >> 20} MiB"
            f" and by {self.descriptors_gained} descriptors in {self.samples * SAMPLE_EVERY_S / 60:.0f} minutes"
        )


def growth(name: str, samples: list[Sample]) -> Growth | None:
    """How a process grew; None when it did not live for long enough."""
    if len(samples) < LEAST_SAMPLES:
        return None
    warm = samples[int(WARM_SHARE * len(samples)) :]
    quarter = len(warm) // 4
    first, last = warm[:quarter], warm[-quarter:]
    return Growth(
        name=name,
        samples=len(samples),
        from_bytes=round(median(size for size, _ in first)),
        to_bytes=round(median(size for size, _ in last)),
        descriptors_gained=round(median(count for _, count in last) - median(count for _, count in first)),
    )


class Sampler:
    """``async with Sampler(pids)``: samples every process that ``pids()`` names, until the block ends."""

    def __init__(self, pids: Callable[[], dict[str, int]]) -> None:
        self._pids = pids
        self._samples: dict[tuple[str, int], list[Sample]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="sampler")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def growth(self) -> tuple[Growth, ...]:
        """Of each process that lived for long enough."""
        told = [growth(f"{name} ({pid})", samples) for (name, pid), samples in self._samples.items()]
        return tuple(one for one in told if one is not None)

    async def _run(self) -> None:
        while True:
            for name, pid in self._pids().items():
                family = procfs.tree(pid)
                size = sum(procfs.resident_bytes(member) for member in family)
                count = sum(procfs.descriptors(member) for member in family)
                if size:
                    self._samples.setdefault((name, pid), []).append((size, count))
            await asyncio.sleep(SAMPLE_EVERY_S)
