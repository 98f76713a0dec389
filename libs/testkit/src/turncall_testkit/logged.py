"""Pytest plugin: what the code logs is printed with plain tracebacks.

structlog's own default draws each frame with all its locals, which keeps the event loop of a test waiting for seconds.
"""

import structlog


def pytest_configure() -> None:
    """Applies to whoever does not configure logs; `turncall_runtime.logs.configure` replaces it."""
    *first, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*first, plain])
