"""What holds for a conversation whoever hears and speaks in it."""

import pytest

BOTH = pytest.mark.parametrize("stage", ["cascade", "speech"], indirect=True)
"""Runs a test with three vendors one behind the other, and with one model that hears and speaks by itself."""
