"""The deployment's own files, with values in the place of its secrets."""

import secrets
from pathlib import Path

import pytest

from turncall_runtime.seal import new_keypair
from turncall_testkit import compose

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def answers() -> dict[str, str]:
    """What an operator writes into ``.env``: random, but digits alone where a server might take them for a number."""
    values = {
        name: secrets.token_hex(24) for name, insists in compose.asked_for(ROOT / "compose.yaml").items() if insists
    }
    pair = new_keypair()
    return values | {
        "NATS_CONTROL_PASSWORD": "90071992547409931234567890",
        "NATS_MEDIA_PASSWORD": "0042",
        "TURNCALL_STREAM_KEYS": f"k1:{secrets.token_hex(24)}",
        "TURNCALL_SEAL_PUBLIC_KEY": pair.public_key,
        "TURNCALL_SEAL_PRIVATE_KEYS": pair.private_key.reveal(),
        "TURNCALL_EGRESS_ALLOW": "127.0.0.0/8",
    }
