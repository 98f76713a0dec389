"""`python -m turncall_phone serve`: the carrier as a process."""

import argparse
import asyncio
import secrets
import signal
import sys

from turncall_phone.accounts import Account
from turncall_phone.carrier import Carrier


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="turncall_phone", description="A Twilio of your own, on this machine.")
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="run the carrier")
    serve.add_argument("--host", default="127.0.0.1", help="the control face has no password: keep it on loopback")
    serve.add_argument("--port", type=int, default=4010, help="0 takes a free one")
    serve.add_argument("--account-sid", default="AC" + "0" * 32)
    serve.add_argument("--auth-token", default="", help="made up and printed when absent")
    serve.add_argument("--number", action="append", default=[], metavar="+1...", help="an owned number; repeatable")
    serve.add_argument("--voice-url", default="", help="what every number asks when it is called")
    serve.add_argument("--calls-per-s", type=float, default=None, help="how fast REST calls leave the queue")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGINT or SIGTERM; the first line on stdout says where."""
    token = options.auth_token or secrets.token_hex(16)
    account = Account(sid=options.account_sid, auth_token=token, numbers=tuple(options.number))
    carrier = Carrier([account], host=options.host, port=options.port, calls_per_s=options.calls_per_s)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with carrier:
        for phone_number in options.number:
            carrier.configure(phone_number, voice_url=options.voice_url)
        sys.stdout.write(f"carrier on {carrier.base_url} account {account.sid}\n")
        if not options.auth_token:
            sys.stdout.write(f"auth token {token}\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    """Entry of `python -m turncall_phone`."""
    asyncio.run(serve(arguments().parse_args()))


if __name__ == "__main__":
    main()
