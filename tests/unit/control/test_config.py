"""The control plane's configuration: complete, refused with every reason at once, silent about its secrets."""

import pytest

from turncall_control import config
from turncall_runtime.config import ConfigRefused
from turncall_runtime.secret import Secret

DEVELOPMENT = {
    "TURNCALL_ENV": "development",
    "TURNCALL_PUBLIC_URL": "https://voice.example.com",
    "TURNCALL_DATABASE_API_URL": "postgresql://api:one-password@db/turncall",
    "TURNCALL_DATABASE_SYSTEM_URL": "postgresql://system:two-password@db/turncall",
    "TURNCALL_REDIS_URL": "redis://cache/0",
    "TURNCALL_NATS_URL": "nats://bus:4222",
    "TURNCALL_BLOBS_URL": "file:///var/lib/blobs",
    "TURNCALL_SEAL_PUBLIC_KEY": "c2VhbA==",
}


def test_development_needs_no_secrets_of_its_own():
    """With addresses alone a development process starts; telephony and the operator's routes are off."""
    read = config.read(DEVELOPMENT)
    assert read.stream_token_keys[0].key_id == "dev"
    assert not read.platform_key
    assert read.twilio_account_sid == ""
    assert read.vendor_keys == {}


def test_production_refuses_development_secrets():
    """Missing and public secrets are both refused, all in one message."""
    with pytest.raises(ConfigRefused) as refused:
        config.read(DEVELOPMENT | {"TURNCALL_ENV": "production", "TURNCALL_KEY_PEPPER": "development-key-pepper"})
    assert len(refused.value.problems) == 3
    assert "TURNCALL_KEY_PEPPER" in str(refused.value)
    assert "TURNCALL_STREAM_KEYS" in str(refused.value)
    assert "TURNCALL_MASTER_KEYS" in str(refused.value)


def test_vendor_keys_are_read_by_vendor():
    """TURNCALL_VENDOR_KEY_DEEPGRAM becomes the key of deepgram."""
    read = config.read(DEVELOPMENT | {"TURNCALL_VENDOR_KEY_DEEPGRAM": "k-123456789"})
    assert read.vendor_keys == {"deepgram": Secret("k-123456789")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TURNCALL_PUBLIC_URL", "voice.example.com"),
        ("TURNCALL_PUBLIC_URL", "https://voice.example.com/path"),
        ("TURNCALL_STREAM_KEYS", "no-colon"),
        ("TURNCALL_STREAM_KEYS", "k1:short"),
        ("TURNCALL_MASTER_KEYS", "no-colon"),
        ("TURNCALL_MASTER_KEYS", "k1:not base64"),
        ("TURNCALL_MASTER_KEYS", "k1:c2hvcnQ="),
        ("TURNCALL_EGRESS_ALLOW", "10.0.0.0/8,nonsense"),
        ("TURNCALL_TWILIO_AUTH_TOKEN", "token-without-account"),
        ("TURNCALL_TWILIO_ACCOUNT_SID", "AC0"),
        ("TURNCALL_HTTP_PORT", "70000"),
        ("TURNCALL_HTTP_WORKERS", "0"),
        ("TURNCALL_TWILIO_BASE_URL", "api.twilio.com"),
        ("TURNCALL_WEBHOOK_RETRIES_S", "5,0"),
        ("TURNCALL_WEBHOOK_RETRIES_S", "5,90000"),
        ("TURNCALL_WEBHOOK_RETRIES_S", ",".join(["5"] * 21)),
        ("TURNCALL_WEBHOOK_TIMEOUT_S", "31"),
        ("TURNCALL_WEBHOOK_LOG_DAYS", "3"),
    ],
)
def test_malformed_variable_is_named(name, value):
    """The refusal names the variable that is wrong."""
    with pytest.raises(ConfigRefused, match=name):
        config.read(DEVELOPMENT | {name: value})


def test_configuration_does_not_show_its_secrets():
    """Passwords inside addresses are secrets too."""
    read = config.read(DEVELOPMENT | {"TURNCALL_PLATFORM_KEY": "platform-secret"})
    for secret in ("one-password", "two-password", "platform-secret"):
        assert secret not in repr(read)


def test_serving_process_knows_no_owners_login():
    """The login that owns the schema is configuration of ``migrate`` alone."""
    assert "database_migrate_url" not in config.ControlConfig.__struct_fields__
    migrate = config.read_migrate({"TURNCALL_DATABASE_MIGRATE_URL": "postgresql://migrate:x@db/turncall"})
    assert migrate.database_migrate_url.reveal().startswith("postgresql://migrate")
