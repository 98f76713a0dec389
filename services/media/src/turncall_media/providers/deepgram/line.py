"""Sockets to Deepgram."""

from typing import Final

from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext
from turncall_media.stages.lines import Line

DEEPGRAM: Final = "https://api.deepgram.com"


def line(base_url: str, timeout_ms: int, context: BuildContext) -> Line:
    """As `lines.line`."""
    return lines.line("deepgram", DEEPGRAM, base_url, timeout_ms, context)
