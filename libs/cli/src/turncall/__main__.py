"""The ``turncall`` command."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from turncall import agents, calling, doctor, fleet, local, parked, suites
from turncall.capacity import run as capacity
from turncall.capacity.knee import NotTaken
from turncall.client import ApiError, TurnCall, Unreachable
from turncall.demo.desk import desk_at_work
from turncall.demo.provision import provisioned
from turncall.demo.run import appeared, demonstrate
from turncall.installation import InstallationFailed
from turncall.local import FOLDER, NotRunning
from turncall.process import ProcessFailed
from turncall_devstack.server import ServerFailed
from turncall_devstack.stack import FolderInUse
from turncall_phone.client import CarrierClient, CarrierRefused
from turncall_phone.terminal import dial_interactively

UP_PORT = 8080


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="turncall", description="A voice-AI platform of your own.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the local installation keeps its data")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("demo", help="start everything, phone the demonstration's agent, show the record, stop")
    up = verbs.add_parser("up", help="start everything and keep it running until Ctrl-C or `turncall down`")
    up.add_argument("--port", type=int, default=UP_PORT, help="where the REST API listens")
    verbs.add_parser("down", help="stop what `turncall up` started")
    phone = verbs.add_parser("phone", help="the emulated carrier").add_subparsers(dest="phone_verb", required=True)
    dial = phone.add_parser("dial", help="phone an agent of the running installation from this terminal")
    dial.add_argument("number", nargs="?", default=local.NUMBER, help="a number that the carrier owns")
    dial.add_argument("--key-file", type=Path, help="a file with an API key, when the number is another project's")
    text = phone.add_parser("text", help="write to an agent of the running installation and show what comes back")
    text.add_argument("body", help="the message")
    text.add_argument("--to", default=local.NUMBER, help="a number that the carrier owns")
    text.add_argument("--wait", type=float, default=20.0, metavar="SECONDS", help="how long to wait for an answer")
    call = verbs.add_parser("call", help="have an agent call somebody; exit code 1 if nobody was reached")
    _add_project(call)
    call.add_argument("to", help="whom to call, as +14155550100")
    call.add_argument("--from", dest="from_", help="the project's number to call from; its newest unless given")
    call.add_argument("--agent", help="who speaks: a name or an id; whoever answers that number unless given")
    call.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the agent's texts"
    )
    fleet.declare(verbs.add_parser("workers", help="the media workers of an installation"))
    parked.declare(verbs.add_parser("parked", help="messages that no consumer could take"))
    capacity.declare(verbs.add_parser("capacity", help="how many calls of an agent one core of this machine bears"))
    _add_project(verbs.add_parser("doctor", help="whether each number of a project would work; exit code 1 if not"))
    test = verbs.add_parser("test", help="test suites as code, and their runs")
    _add_project(test)
    suites.declare(test)
    _add_agents(verbs.add_parser("agents", help="agents as code: files in, files out"))
    return parser


def _add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the installation; the one that runs in --folder unless given")
    parser.add_argument("--key-file", type=Path, help="a file with another API key; needed with --url")


def _add_agents(parser: argparse.ArgumentParser) -> None:
    _add_project(parser)
    verbs = parser.add_subparsers(dest="agents_verb", required=True)
    verbs.add_parser("list", help="the project's agents")
    export = verbs.add_parser("export", help="print an agent as a file")
    export.add_argument("name")
    export.add_argument("--environment", default="development")
    export.add_argument("--draft", action="store_true", help="the draft, not what answers calls")
    export.add_argument("--json", action="store_true", help="as JSON; YAML otherwise")
    apply = verbs.add_parser("apply", help="bring agents to what files say")
    apply.add_argument("files", nargs="+", type=Path)
    apply.add_argument("--publish", action="store_true", help="also let them answer calls")
    apply.add_argument("--dry-run", action="store_true", help="only say what would change; exit code 3 if anything")
    validate = verbs.add_parser("validate", help="check files, store nothing")
    validate.add_argument("files", nargs="+", type=Path)


def tell(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)


async def up(folder: Path, port: int) -> int:
    """Runs everything with the demonstration's agent on its number until SIGINT or SIGTERM."""
    asked_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    async with local.running(folder, tell, control_port=port) as house, desk_at_work() as (desk, tool_url):
        made = await provisioned(folder, house.state, tool_url)
        desk.trust(made.signing_secret)
        state = local.with_key(house.state, made.api_key)
        async with local.published(folder, state):
            tell(f"agent     Receptionist answers {made.number.e164}")
            tell(f"API key   in {folder / local.STATE_FILE}; reference at {state.control_url}/docs")
            tell("talk      .venv/bin/turncall phone dial")
            await asked_to_end.wait()
            tell("stopping; live calls are finished first")
    return 0


async def dial(folder: Path, number: str, key_file: Path | None) -> int:
    """Lets the person at the terminal be the caller; returns when the call is over."""
    state = local.found(folder)
    async with CarrierClient(state.phone_url) as carrier, _keyed(state.control_url, state.api_key, key_file) as api:
        remote = await carrier.dial(to=number, from_=local.CALLER)
        call = await appeared(api, remote)

        async def agent_words() -> AsyncIterator[str]:
            async for fact in api.follow(call.id):
                if fact.type == "transcript.final":
                    speaker = "" if fact.data["speaker"] == "agent" else "(understood) "
                    yield f"{speaker}{fact.data['text']}"

        await dial_interactively(remote, _typed_lines(), tell, agent_words())
        tell(f"record: GET {state.control_url}/v1/calls/{call.id}")
    return 0


async def text(folder: Path, to: str, body: str, wait_s: float) -> int:
    """Writes to a number from the phone of the person at the terminal, and shows what arrives there; 1 for nothing."""
    async with CarrierClient(local.found(folder).phone_url) as carrier:
        before = {arrived.sid for arrived in await carrier.inbox(local.CALLER)}
        await carrier.write_text(to=to, from_=local.CALLER, body=body)
        until = asyncio.get_running_loop().time() + wait_s
        while asyncio.get_running_loop().time() < until:
            fresh = [one for one in await carrier.inbox(local.CALLER) if one.sid not in before]
            for arrived in fresh:
                tell(f"{arrived.from_}  {arrived.body}")
            if fresh:
                return 0
            await asyncio.sleep(0.1)
    tell(f"nothing came back within {wait_s:g} s")
    return 1


async def _typed_lines() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode(errors="replace").rstrip("\n")


async def agents_as_code(folder: Path, options: argparse.Namespace) -> int:
    """Carries out a verb of ``agents``; its exit code."""
    async with _project(folder, options.url, options.key_file) as api:
        match options.agents_verb:
            case "list":
                return await agents.listed(api, tell)
            case "export":
                made = await agents.exported(
                    api, options.name, options.environment, is_draft=options.draft, as_json=options.json
                )
                sys.stdout.write(made)
                return agents.OK
            case "apply":
                return await agents.applied(api, options.files, tell, publish=options.publish, dry_run=options.dry_run)
            case _:
                return await agents.validated(api, options.files, tell)


def _project(folder: Path, url: str | None, key_file: Path | None) -> TurnCall:
    if url is None:
        state = local.found(folder)
        return _keyed(state.control_url, state.api_key, key_file)
    if key_file is None:
        raise agents.FileRefused("--url needs --key-file")
    return _keyed(url, "", key_file)


def _keyed(url: str, key: str, key_file: Path | None) -> TurnCall:
    try:
        return TurnCall(url, key=key if key_file is None else key_file.read_text().strip())
    except OSError as error:
        raise agents.FileRefused(f"--key-file: {error}") from error


async def down(folder: Path) -> int:
    """Stops what runs in the folder."""
    await local.stop(folder)
    return 0


async def run(options: argparse.Namespace) -> int:
    """Carries out one verb; its exit code."""
    folder: Path = local.made(options.folder)
    match options.verb:
        case "demo":
            return await demonstrate(folder, tell)
        case "up":
            return await up(folder, options.port)
        case "down":
            return await down(folder)
        case "workers":
            return await fleet.run(options, folder, tell)
        case "capacity":
            return await capacity.run(options, folder, tell)
        case "parked":
            return await parked.run(options, folder, tell)
        case "doctor":
            async with _project(folder, options.url, options.key_file) as api:
                return await doctor.examined(api, tell)
        case "call":
            async with _project(folder, options.url, options.key_file) as api:
                return await calling.called(api, options.to, options.from_, options.agent, options.set, tell)
        case "agents":
            return await agents_as_code(folder, options)
        case "test":
            async with _project(folder, options.url, options.key_file) as api:
                return await suites.run(options, api, tell)
        case _:
            if options.phone_verb == "text":
                return await text(folder, options.to, options.body, options.wait)
            return await dial(folder, options.number, options.key_file)


EXPECTED = (
    calling.CallRefused,
    capacity.NotMeasured,
    NotTaken,
    agents.FileRefused,
    ApiError,
    Unreachable,
    NotRunning,
    FolderInUse,
    ServerFailed,
    ProcessFailed,
    InstallationFailed,
    CarrierRefused,
    httpx.HTTPError,
    TimeoutError,
)
"""Failures that a sentence explains better than a traceback."""


def main() -> None:
    """Entry of the ``turncall`` script."""
    try:
        sys.exit(asyncio.run(run(arguments().parse_args())))
    except EXPECTED as error:
        sys.exit(f"turncall: {error or type(error).__name__}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
