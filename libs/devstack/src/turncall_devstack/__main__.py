"""``python -m turncall_devstack [FOLDER]``: the four servers until Ctrl-C, and the environment that points to them."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from turncall_devstack.environment import control_environment, media_environment
from turncall_devstack.stack import DevStack
from turncall_runtime.lifecycle import Life, run


async def serve(folder: Path) -> None:
    """Runs a stack in ``folder`` until SIGINT or SIGTERM, having printed ``NAME=value`` lines once it is up."""

    async def start(resources: AsyncExitStack) -> None:
        stack = await resources.enter_async_context(DevStack(folder))
        variables = control_environment(stack.urls, stack.keys) | media_environment(stack.urls, stack.keys)
        for name, value in variables.items():
            print(f"{name}={value}", flush=True)  # noqa: T201 - this command prints

    await run(Life(), start, _nothing, drain_timeout_s=1)


async def _nothing() -> None:
    """There is no work to finish: the servers stop in good order by themselves."""


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1] if len(sys.argv) > 1 else ".turncall")))
