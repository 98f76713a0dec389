"""Events of test runs, which belong to no call."""

from typing import Final

RUN_COMPLETED: Final = "test_run.completed"

RUN_EVENTS: Final[dict[str, str]] = {RUN_COMPLETED: "Every conversation of a test run is over, or it was cancelled."}
"""What each says; their data is the run as the API shows it."""
