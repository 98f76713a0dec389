"""What answers mean, and when the next attempt is."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import fields

from turncall_control.config import ControlConfig
from turncall_control.webhooks.attempts import Verdict, next_try, retry_after_s, verdict
from turncall_egress import EgressAnswer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def answer(status: int, **headers: str) -> EgressAnswer:
    """A server's answer."""
    return EgressAnswer(
        status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}, body=b""
    )


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_success(status: int) -> None:
    """Nothing else is asked of a receiver."""
    assert verdict(answer(status), NOW) == Verdict()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure(status: int) -> None:
    """It says so, since the receiver's owner will look for the reason."""
    assert "redirects are not followed" in verdict(answer(status, location="https://example.com"), NOW).failure


@pytest.mark.parametrize(("status", "is_gone", "is_busy"), [(410, True, False), (429, False, True), (503, False, True),
                                                           (404, False, False), (500, False, False)])  # fmt: skip
def test_some_failures_concern_the_whole_subscription(status: int, is_gone: bool, is_busy: bool) -> None:
    """410 ends it, an overloaded server is left alone."""
    said = verdict(answer(status, retry_after="7"), NOW)
    assert (said.is_gone, said.is_busy, said.retry_after_s) == (is_gone, is_busy, 7.0)
    assert str(status) in said.failure


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("120", 120),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("99999999999999999999", 86_400),
        ("Tue, 22 Dec 2026 12:00:00 GMT", 86_400),
        ("-5", 0),
        ("soon", 0),
        ("\u0665", 0),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float) -> None:
    """Seconds or a date, a day at most, and nonsense is as good as nothing."""
    assert retry_after_s(header, NOW) == seconds


def test_the_standards_schedule_takes_three_days() -> None:
    """By default there are ten attempts over 75 hours, each at most a fifth later than planned, then no more."""
    retries_s = next(field.default for field in fields(ControlConfig) if field.name == "webhook_retries_s")
    failed = Verdict(failure="answered 500")
    for roll, most in ((0.0, 1.0), (0.999, 1.2)):
        waits = []
        for count in range(1, len(retries_s) + 1):
            due = next_try(retries_s, count, failed, NOW, roll)
            assert due is not None
            waits.append((due - NOW).total_seconds())
        assert len(waits) == 9
        assert 3 * 86_400 < sum(retries_s) <= sum(waits) <= sum(retries_s) * most
    assert next_try(retries_s, 10, failed, NOW, 0.5) is None


def test_a_server_may_ask_for_more_time_but_not_for_less() -> None:
    """Retry-After moves the next attempt back, never forward."""
    for asked_s, wait_s in ((60.0, 300), (900.0, 900)):
        said = Verdict(failure="answered 429", is_busy=True, retry_after_s=asked_s)
        assert next_try((5, 300), 2, said, NOW, 0.0) == NOW + timedelta(seconds=wait_s)


def test_a_server_that_is_gone_is_not_tried_again() -> None:
    """Whatever is left of the schedule."""
    assert next_try((5, 300), 1, Verdict(failure="answered 410", is_gone=True), NOW, 0.0) is None
