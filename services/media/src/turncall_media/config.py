"""What a media worker is told by its environment."""

import os
from typing import Annotated, Literal

from msgspec import Meta, Struct

from turncall_proto.placement import Pool
from turncall_runtime.config import Development, Environment, load
from turncall_runtime.secret import Secret


class MediaConfig(Struct, frozen=True, kw_only=True):
    """One worker process. Each field is read from ``TURNCALL_<FIELD>``."""

    env: Annotated[Environment, Meta(description="development or production.")] = "production"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error.")
    ] = "info"
    nats_url: Annotated[
        Secret,
        Development("nats://127.0.0.1:4222"),
        Meta(description="Where NATS listens, with user and password: nats://media:…@host:4222."),
    ]
    blobs_url: Annotated[
        str,
        Meta(
            description="Where recordings go: file:///absolute/folder, or s3://bucket?endpoint=http://host:9000&region=…"
        ),
    ]
    blobs_access_key: Annotated[str, Meta(description="Access key of the S3 store; empty for a folder.")] = ""
    blobs_secret_key: Annotated[Secret, Meta(description="Secret key of the S3 store; empty for a folder.")] = Secret(
        ""
    )
    stream_keys: Annotated[
        Secret, Meta(description="Keys that open media sockets, as id:secret,id:secret; all of them verify.")
    ]
    egress_allow: Annotated[
        tuple[str, ...], Meta(description="Internal networks (CIDR) that URLs supplied by users may reach.")
    ] = ()
    mcp_commands: Annotated[
        tuple[str, ...],
        Meta(
            description="Programs on this machine that agents may use as MCP servers, as name=program arguments;"
            " without any, no agent starts one."
        ),
    ] = ()
    models_dir: Annotated[
        str,
        Meta(
            description="A folder with models for the vendors that run on this machine: whisper/NAME/, piper/NAME.onnx;"
            " nothing is downloaded into it."
        ),
    ] = ""
    media_host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    media_port: Annotated[int, Meta(ge=0, le=65535, description="The port to listen on; 0 takes a free one.")] = 8090
    media_url: Annotated[
        str,
        Meta(
            pattern=r"^wss?://[^/\s]+$(?!\n)",
            description="What a carrier connects to: ws(s)://host[:port], without a path.",
        ),
    ]
    pools: Annotated[
        tuple[Pool, ...],
        Meta(
            min_length=1, description="calls: live audio; text: jobs that no caller waits for. A core of its own each."
        ),
    ] = ("calls", "text")
    slots: Annotated[int, Meta(ge=1, le=1000, description="Calls at once.")] = 20
    job_slots: Annotated[int, Meta(ge=1, le=100, description="Jobs of each kind at once.")] = 4
    max_lag_ms: Annotated[
        float,
        Meta(
            gt=0,
            description="Above this event loop lag (p99 of 5 s) no new calls are taken, whatever slots are free;"
            " callers who lost their worker are taken up to twice as much.",
        ),
    ] = 100.0
    max_cpu_share: Annotated[
        float,
        Meta(gt=0, le=64, description="The same for CPU time: 0.85 is 85 % of one core over 5 s."),
    ] = 0.85
    spool_dir: Annotated[
        str, Meta(description="A folder that outlives the process: facts wait here until control has stored them.")
    ]
    seal_private_keys: Annotated[
        tuple[Secret, ...],
        Meta(min_length=1, description="X25519 keys in base64 that open vendors' keys, newest first."),
    ]
    handover_after_s: Annotated[
        float,
        Meta(
            ge=0,
            le=14_400,
            description="How long after SIGTERM a call may end by itself; then another worker goes on with it, from the"
            " next moment in which nobody speaks.",
        ),
    ] = 600.0
    drain_s: Annotated[
        float,
        Meta(ge=0, le=14_400, description="How long after SIGTERM calls are handed over in the middle of a sentence."),
    ] = 900.0


def read() -> MediaConfig:
    """The configuration of this process. Raises `ConfigRefused`."""
    return load(MediaConfig, os.environ)
