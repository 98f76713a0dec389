"""The environment variables that let either plane run against a development stack."""

from turncall_devstack.keys import Keys
from turncall_devstack.stack import Urls

_SHARED_URLS = ("nats_url", "blobs_url", "blobs_access_key", "blobs_secret_key")
_CONTROL_URLS = ("database_migrate_url", "database_api_url", "database_system_url", "redis_url")


def control_environment(urls: Urls, keys: Keys) -> dict[str, str]:
    """What the control plane needs from the stack. Addresses of its own and vendor keys are not in it."""
    return _shared(urls, keys) | {
        **_variables(urls, _CONTROL_URLS),
        "TURNCALL_PLATFORM_KEY": keys.platform_key,
        "TURNCALL_KEY_PEPPER": keys.key_pepper,
        "TURNCALL_SEAL_PUBLIC_KEY": keys.seal_public_key,
    }


def media_environment(urls: Urls, keys: Keys) -> dict[str, str]:
    """What a media worker needs from the stack: no database, no Redis."""
    return _shared(urls, keys) | {"TURNCALL_SEAL_PRIVATE_KEYS": keys.seal_private_key}


def _shared(urls: Urls, keys: Keys) -> dict[str, str]:
    return {
        "TURNCALL_ENV": "development",
        **_variables(urls, _SHARED_URLS),
        "TURNCALL_STREAM_KEYS": f"k1:{keys.stream_secret}",
        "TURNCALL_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
    }


def _variables(urls: Urls, names: tuple[str, ...]) -> dict[str, str]:
    return {f"TURNCALL_{name.upper()}": getattr(urls, name) for name in names}
