"""The page for Prometheus."""

from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from turncall_runtime.metrics import new_registry, page, watch


def _samples(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_page_holds_what_was_counted() -> None:
    """A counter of ours and the process's own figures are on one page."""
    registry = new_registry("media", "1.2.3")
    calls = Counter("turncall_calls_started", "Calls.", ["channel"], registry=registry)
    calls.labels("phone").inc(2)

    answer = page(registry)
    samples = _samples(answer.body.decode())

    assert samples["turncall_calls_started_total"] == 2
    assert samples["process_resident_memory_bytes"] > 0
    assert b'turncall_build_info{component="media",version="1.2.3"} 1.0' in answer.body
    assert answer.content_type.startswith("text/plain")


def test_openmetrics_is_answered_when_asked_for() -> None:
    """A scraper says which form it reads."""
    answer = page(new_registry("media", "1"), accept="application/openmetrics-text; version=1.0.0")

    assert answer.content_type.startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_watched_values_are_read_at_each_scrape() -> None:
    """A gauge over something's length needs nobody to set it."""
    registry, waiting = new_registry("control", "1"), ["a"]
    watch(registry, "turncall_outbox_pending", "Rows to send.", lambda: len(waiting))
    before = _samples(page(registry).body.decode())["turncall_outbox_pending"]
    waiting.append("b")

    assert (before, _samples(page(registry).body.decode())["turncall_outbox_pending"]) == (1, 2)


def test_registries_do_not_share() -> None:
    """Two services in one test process count apart."""
    first, second = new_registry("control", "1"), new_registry("media", "1")
    Counter("turncall_x", "X.", registry=first).inc()
    Counter("turncall_x", "X.", registry=second)

    assert _samples(page(second).body.decode())["turncall_x_total"] == 0
