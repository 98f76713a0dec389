"""What the control plane reads from its environment; nothing else in this package does."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from turncall_control.envelope import MasterKey, parse_master_keys
from turncall_proto.stream_token import StreamKey, parse_keys
from turncall_runtime.config import ConfigRefused, Development, Environment, Prefixed, load
from turncall_runtime.secret import Secret

LogLevel = Literal["debug", "info", "warning", "error"]

_DEVELOPMENT_STREAM_KEYS: Final = "dev:development-stream-key"
_VENDORS_OWN: Final = "api.twilio.com"
_DEVELOPMENT_MASTER_KEYS: Final = "dev:ZGV2ZWxvcG1lbnQtbWFzdGVyLWtleS0zMi1ieXRlcyE="


class ControlConfig(Struct, frozen=True, kw_only=True):
    """One process of the control plane. Addresses that may hold a password are secrets."""

    env: Environment = "production"
    log_level: LogLevel = "info"
    http_host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[int, Meta(ge=1, le=65_535, description="Port to listen on.")] = 8080
    http_workers: Annotated[int, Meta(ge=1, le=64, description="Processes that share the port.")] = 1
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^/?#\s]+$(?!\n)",
            description="How the world reaches this service, without a path: https://voice.example.com.",
        ),
    ]
    database_api_url: Annotated[
        Secret, Meta(description="postgresql:// of the login under row-level security; it serves users' requests.")
    ]
    database_system_url: Annotated[
        Secret, Meta(description="postgresql:// of the login that sees every project; look-ups and background work.")
    ]
    redis_url: Annotated[Secret, Meta(description="redis:// of the shared counters and caches.")]
    nats_url: Annotated[Secret, Meta(description="nats:// of the bus; several servers are separated by commas.")]
    blobs_url: Annotated[
        str, Meta(description="file:///folder or s3://bucket?endpoint=…&region=… for recordings and documents.")
    ]
    blobs_access_key: Annotated[str, Meta(description="Access key of an s3:// store.")] = ""
    blobs_secret_key: Annotated[Secret, Meta(description="Secret key of an s3:// store.")] = Secret("")
    platform_key: Annotated[
        Secret, Meta(description="Opens X-Platform-Key: creating projects and their first keys. Unset closes it.")
    ] = Secret("")
    key_pepper: Annotated[
        Secret,
        Development("development-key-pepper"),
        Meta(
            description="Keys the hashes of API keys and of links to recordings. Changed without the one before among"
            " TURNCALL_OLD_KEY_PEPPERS, it revokes them all."
        ),
    ]
    old_key_peppers: Annotated[
        tuple[Secret, ...],
        Meta(
            description="Peppers before it, separated by commas: what they hashed still opens, and a key in use is"
            " hashed anew. A key that was not used since the change dies with its pepper."
        ),
    ] = ()
    master_keys: Annotated[
        Secret,
        Development(_DEVELOPMENT_MASTER_KEYS),
        Meta(
            description="id:base64,id:base64 of 32 bytes each (openssl rand -base64 32): they wrap the keys under which"
            " projects' credentials are stored. The first wraps, all open; see rotate-master-key."
        ),
    ]
    stream_keys: Annotated[
        Secret,
        Development(_DEVELOPMENT_STREAM_KEYS),
        Meta(description="id:secret,id:secret for the tokens of media sockets: the first mints, all verify."),
    ]
    seal_public_key: Annotated[
        str, Meta(description="X25519 public key of the media plane, base64: vendors' keys travel sealed to it.")
    ]
    egress_allow: Annotated[
        tuple[str, ...], Meta(description="Internal networks (CIDR) that users' URLs may name, separated by commas.")
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) of proxies whose X-Forwarded-For names the client, separated by commas."),
    ] = ()
    rate_key_per_minute: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Requests that one API key may make in a minute.")
    ] = 3000
    rate_address_per_minute: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Requests with a key, from one address, in a minute.")
    ] = 12_000
    rate_refused_per_minute: Annotated[
        int,
        Meta(ge=1, le=10_000_000, description="Requests without a good key, from one address, before it has to wait."),
    ] = 120
    webhook_retries_s: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=86_400)], ...],
        Meta(
            min_length=1,
            max_length=20,
            description="How long after each failed attempt to deliver an event the next one is made, in seconds;"
            " after the last one the event is given up.",
        ),
    ] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    webhook_timeout_s: Annotated[
        int, Meta(ge=1, le=30, description="How long a user's server may take to answer an event.")
    ] = 15
    webhook_log_days: Annotated[int, Meta(ge=4, le=365, description="How long deliveries are kept.")] = 30
    audit_keep_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Days after which entries of the audit log are deleted.")
    ] = 400
    project_grace_days: Annotated[
        int,
        Meta(ge=0, le=365, description="Days between the deletion of a project and the purge of everything in it."),
    ] = 30
    twilio_account_sid: Annotated[str, Meta(description="Account of the carrier; empty leaves telephony off.")] = ""
    twilio_auth_token: Annotated[Secret, Meta(description="Token of that account; it also signs webhooks.")] = Secret(
        ""
    )
    twilio_secondary_auth_token: Annotated[
        Secret, Meta(description="The account's other token, accepted too: for the time in which they are rotated.")
    ] = Secret("")
    twilio_base_url: Annotated[
        str, Meta(pattern=r"^https?://\S+$(?!\n)", description="Where the carrier's REST API is reached.")
    ] = f"https://{_VENDORS_OWN}"
    whatsapp_base_url: Annotated[
        str, Meta(description="Where the Graph API is; another address for a stand-in of WhatsApp.")
    ] = "https://graph.facebook.com"
    test_lines: Annotated[
        Literal["none", "emulator"],
        Meta(
            description="Who answers the phone in tests of agents: with emulator the carrier at "
            "TURNCALL_TWILIO_BASE_URL is the emulator, which plays callers; with none there are no tests by phone."
        ),
    ] = "none"
    stun_urls: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^stuns?:\S+$(?!\n)")], ...],
        Meta(description="STUN servers of browser calls, separated by commas: stun:stun.example.com:3478."),
    ] = ()
    turn_urls: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^turns?:\S+$(?!\n)")], ...],
        Meta(
            description="TURN servers of browser calls, separated by commas: turn:turn.example.com:3478?transport=udp."
        ),
    ] = ()
    turn_secret: Annotated[
        Secret, Meta(description="What the TURN servers check credentials with: coturn's static-auth-secret.")
    ] = Secret("")
    dial_rate_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=1000,
            description="Calls that one carrier account is asked for in a second; Twilio queues more than it allows.",
        ),
    ] = 1.0
    prices_file: Annotated[
        str, Meta(description="JSON file with the prices of vendors, by which usage gets a cost; empty: no costs.")
    ] = ""
    vendor_keys: Annotated[
        dict[str, Secret],
        Prefixed("TURNCALL_VENDOR_KEY_"),
        Meta(description="The installation's key for a model vendor: TURNCALL_VENDOR_KEY_DEEPGRAM."),
    ]

    @property
    def stream_token_keys(self) -> tuple[StreamKey, ...]:
        """The keys of media socket tokens, the minting one first."""
        return parse_keys(self.stream_keys.reveal())

    @property
    def key_peppers(self) -> tuple[Secret, ...]:
        """What API keys and links are hashed with, the newest first; all open."""
        return (self.key_pepper, *self.old_key_peppers)

    @property
    def master_key_list(self) -> tuple[MasterKey, ...]:
        """The keys that wrap projects' data keys, the wrapping one first."""
        return parse_master_keys(self.master_keys.reveal())

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Where requests come from whose X-Forwarded-For is believed."""
        return tuple(ip_network(text) for text in self.trusted_proxies)

    @property
    def egress_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks that the operator opened to users' URLs."""
        return tuple(ip_network(text) for text in self.egress_allow)


class RotationConfig(Struct, frozen=True, kw_only=True):
    """What ``rotate-master-key`` and ``rotate-data-keys`` read."""

    env: Environment = "production"
    log_level: LogLevel = "info"
    database_system_url: Annotated[Secret, Meta(description="postgresql:// of the login that sees every project.")]
    master_keys: Annotated[
        Secret, Development(_DEVELOPMENT_MASTER_KEYS), Meta(description="As the serving processes have them.")
    ]


class MigrateConfig(Struct, frozen=True, kw_only=True):
    """What ``migrate`` reads. The owner's login is known to no process that serves."""

    env: Environment = "production"
    log_level: LogLevel = "info"
    database_migrate_url: Annotated[Secret, Meta(description="postgresql:// of the login that owns the schema.")]


def read(environ: Mapping[str, str] = os.environ) -> ControlConfig:
    """The configuration of a serving process. Raises `ConfigRefused` with every problem in it."""
    config = load(ControlConfig, environ)
    checks = (_bad_stream_keys, _bad_master_keys, _bad_networks, _bad_proxies, _half_account, _no_emulator)
    problems = [problem for check in checks if (problem := check(config))]
    if problems:
        raise ConfigRefused(problems)
    return config


def read_rotation(environ: Mapping[str, str] = os.environ) -> tuple[RotationConfig, tuple[MasterKey, ...]]:
    """The configuration of the rotations, and the master keys in it. Raises `ConfigRefused`."""
    config = load(RotationConfig, environ)
    try:
        return config, parse_master_keys(config.master_keys.reveal())
    except ValueError as error:
        raise ConfigRefused([f"TURNCALL_MASTER_KEYS is malformed: {error}"]) from error


def read_migrate(environ: Mapping[str, str] = os.environ) -> MigrateConfig:
    """The configuration of ``migrate``. Raises `ConfigRefused`."""
    return load(MigrateConfig, environ)


def _bad_stream_keys(config: ControlConfig) -> str:
    try:
        _ = config.stream_token_keys
    except ValueError as error:
        return f"TURNCALL_STREAM_KEYS is malformed: {error}"
    return ""


def _bad_master_keys(config: ControlConfig) -> str:
    try:
        _ = config.master_key_list
    except ValueError as error:
        return f"TURNCALL_MASTER_KEYS is malformed: {error}"
    return ""


def _bad_networks(config: ControlConfig) -> str:
    try:
        _ = config.egress_networks
    except ValueError as error:
        return f"TURNCALL_EGRESS_ALLOW is malformed: {error}"
    return ""


def _bad_proxies(config: ControlConfig) -> str:
    try:
        _ = config.proxy_networks
    except ValueError as error:
        return f"TURNCALL_TRUSTED_PROXIES is malformed: {error}"
    return ""


def _half_account(config: ControlConfig) -> str:
    if bool(config.twilio_account_sid) != bool(config.twilio_auth_token):
        return "TURNCALL_TWILIO_ACCOUNT_SID and TURNCALL_TWILIO_AUTH_TOKEN belong together: set both or neither"
    return ""


def _no_emulator(config: ControlConfig) -> str:
    if config.test_lines == "emulator" and urlsplit(config.twilio_base_url).hostname == _VENDORS_OWN:
        return "TURNCALL_TEST_LINES is emulator, but TURNCALL_TWILIO_BASE_URL is Twilio's own: people would be called"
    return ""
