"""``turncall capacity`` as an operator runs it, as small as it goes."""

import asyncio
import os
import re
import sys
from pathlib import Path

WITHIN_S = 300


BUSY = re.compile(r"turncall: 1 calls are too many for a core: (answers|audio|\d of \d turns|\d+\.\d% of the audio)")
"""What it says, and rightly, on a machine that has no time for one call."""


async def test_an_operator_learns_a_workers_slots(tmp_path: Path) -> None:
    """One call of the demonstration's agent is measured; the slots that follow are told and written, or, where even one
    is too many, nothing is."""
    environment = tmp_path / "media.env"
    environment.write_text("TURNCALL_MEDIA_PORT=8090\n# TURNCALL_SLOTS=20\n")
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "turncall", "--folder", str(tmp_path / "data"), "capacity"),
        *("--most", "1", "--write", str(environment)),
        env={name: value for name, value in os.environ.items() if not name.startswith("TURNCALL_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN_S):
        printed, said = (stream.decode() for stream in await command.communicate())
    assert "left out  local (stt): vendors are simulated" in printed, said
    assert re.search(r"^ +1 calls +\d+% of a core", printed, re.MULTILINE), printed + said
    if command.returncode:
        assert BUSY.match(said), said
        assert "TURNCALL_SLOTS" not in printed
        assert environment.read_text() == "TURNCALL_MEDIA_PORT=8090\n# TURNCALL_SLOTS=20\n"
    else:
        assert "TURNCALL_SLOTS=1\n" in printed
        assert environment.read_text() == "TURNCALL_MEDIA_PORT=8090\nTURNCALL_SLOTS=1\n"
