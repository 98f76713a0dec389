"""The served reference is held to: Schemathesis makes requests from it, valid and not, alone and in chains."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

import httpx

SECONDS = os.environ.get("FUZZ_SECONDS", "45")
"""How long requests are made up; `make fuzz` takes longer."""

EXCLUDED = (
    "positive_data_acceptance",  # a name may be taken, an agent may be missing: no schema says so
    "allow_header_conformance",  # Litestar tells the methods of one of the handlers that share a path
    "negative_data_rejection",  # Litestar reads the number in ?created_until=0.5 as seconds since 1970
    "ensure_resource_availability",  # a project that the operator makes is not there for another project's key
)


async def python(*arguments, environ):
    """Starts a module in a process group of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURNCALL_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=kept | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def answers(client, process):
    """Waits until the process serves."""
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx.TransportError):
                await client.get("/health")
                return
            assert process.returncode is None
            await asyncio.sleep(0.1)


async def test_service_does_what_its_reference_says(environ, tmp_path):
    """No made-up request gets a 5xx, an undocumented status, or a body of another shape; bad ones are refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"TURNCALL_HTTP_PORT": str(port), "TURNCALL_RATE_KEY_PER_MINUTE": "1000000"}
    log = (tmp_path / "served.log").open("wb")
    process = await python("-m", "turncall_control", "serve", environ=environ | own)
    reading = asyncio.create_task(_copied(process.stdout, log))
    try:
        operator = {"X-Platform-Key": environ["TURNCALL_PLATFORM_KEY"]}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            await answers(client, process)
            project = (await client.post("/v1/projects", json={"name": "Fuzz"}, headers=operator)).json()["id"]
            key = {"name": "fuzz", "role": "admin"}
            made = (await client.post(f"/v1/projects/{project}/keys", json=key, headers=operator)).json()
        fuzzing = await python(
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            "--checks=all",
            f"--exclude-checks={','.join(EXCLUDED)}",
            f"--max-time={SECONDS}",
            "--phases=examples,coverage,fuzzing,stateful",
            "--request-timeout=15",
            "--generation-database=none",
            "--no-shrink",
            "--no-color",
            "--warnings=off",
            f"--header=Authorization:Bearer {made['secret']}",
            f"--header=X-Platform-Key:{environ['TURNCALL_PLATFORM_KEY']}",
            environ={},
        )
        told, _ = await fuzzing.communicate()
        assert fuzzing.returncode == 0, told.decode()[-20_000:]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await reading
        log.close()
    assert b"request.failed" not in (tmp_path / "served.log").read_bytes()


async def _copied(stream, target):
    while chunk := await stream.read(65_536):
        target.write(chunk)
