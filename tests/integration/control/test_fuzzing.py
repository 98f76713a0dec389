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

UNSAYABLE = {
    "^list_": "a cursor is what an earlier page gave",
    "^(bind|change)_number$": "weights sum up to 100, an agent exists, the carrier's account owns the number",
    "^change_project$": "calling hours begin before they end, prefixes are of known countries",
    "^(create|change)_webhook$": "a host that may be called, an agent that exists",
    "^(create|import|validate)_agent$|^put_draft$": "options are their vendor's own, tools have names of their own",
    "^create_outbound_call$": "a number and an agent of the project",
    "^create_session$": "an agent of the project that is published",
    "^create_message$": "a number and an agent of the project",
    "^connect_browser$": "an offer with sound",
    "^create_client_token$": "an agent or a version, and not both",
    "^open_session$": "a link that was made here",
    "^get_(experiment|usage|variants)$": "a span of a year at most that begins before it ends, a variant that was met",
    "^put_test_suite$": "a scenario can fail, phrases hold words, names are distinct, options are their vendor's own",
    "^create_test_run$": "a version of the project, scenarios of the suite",
    "^put_test_schedule$": "times as cron writes them, a time zone that there is, scenarios of the suite",
    "^replay_call$": "a version of the project, a call with a recording",
    "^put_credential$": "a vendor that takes a key",
    "^create_(first_)?key$": "an end that lies ahead",
    "^(drop|replay)_parked_messages$": "a whole number is written without a fraction",
}
"""Operations that refuse with a 422 what their schema allows, each by what no schema can say."""


def configuration() -> str:
    """Every check is on for every operation; of these only, what a check expects is not so."""
    refusing = "".join(
        f"# {reason}\n[[operations]]\ninclude-operation-id-regex = '{operation}'\n"
        "checks.positive_data_acceptance.expected-statuses ="
        " ['2xx', '3xx', 401, 403, 404, 409, 422, 429, '5xx']\n\n"
        for operation, reason in UNSAYABLE.items()
    )
    return (
        refusing + "# What the operator makes by its own key is not there for another project's.\n"
        "[[operations]]\ninclude-path-regex = '^/v1/projects/'\n"
        "checks.ensure_resource_availability.enabled = false\n"
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
    """No made-up request gets a 5xx, an undocumented status, or a body of another shape; bad ones are refused,
    good ones are not."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"TURNCALL_HTTP_PORT": str(port), "TURNCALL_RATE_KEY_PER_MINUTE": "1000000"}
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(configuration())
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
            f"--config-file={settings}",
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            "--checks=all",
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
