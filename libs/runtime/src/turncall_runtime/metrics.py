"""Prometheus: a registry of one's own, shared bucket bounds, and the page that ``/metrics`` answers with."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, Gauge, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REQUEST_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""For what a machine waits for: requests, queries, publishes."""

TURN_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)
"""For what a caller waits for: parts of a turn. Dense around 800 ms, where a pause begins to feel long."""

CALL_BUCKETS_S: Final = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""For the length of calls."""


class Page(Struct, frozen=True, kw_only=True):
    """An answer to a scrape."""

    body: bytes
    content_type: str


def new_registry(component: str, version: str) -> CollectorRegistry:
    """A registry with what every process shows: its CPU, memory, descriptors, garbage collector, and who it is.

    Hand it to whoever counts something; metrics of one process live in one registry and none is global. Names carry
    base units (``_seconds``, ``_bytes``, ``_total``); a label never holds a call, a person or a number.
    """
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("turncall_build", "Which component and version runs.", registry=registry).info(
        {"component": component, "version": version}
    )
    return registry


def watch(registry: CollectorRegistry, name: str, description: str, read: Callable[[], float]) -> None:
    """Adds a gauge whose value is read when it is scraped: lengths, ages, sizes that something already knows."""
    Gauge(name, description, registry=registry).set_function(read)


def page(registry: CollectorRegistry, accept: str = "") -> Page:
    """Everything in ``registry``, as text or OpenMetrics, whichever the scraper's ``Accept`` header asks for."""
    encode, content_type = choose_encoder(accept)
    return Page(body=encode(registry), content_type=content_type)
