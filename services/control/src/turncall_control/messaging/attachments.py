"""What comes with a message beside its words: an agent is told of it, since it cannot look at it itself."""

from collections.abc import Sequence
from typing import Final

from turncall_proto.arrival import Attached

MOST: Final = 10
"""Of one message: as many as an MMS has."""
_KINDS: Final = {"image": "an image", "video": "a video", "audio": "an audio recording", "text": "a file"}


def told(text: str, attached: Sequence[Attached]) -> str:
    """The message as it is kept, and as the agent reads it: its words, and a line about what came with them."""
    if not attached:
        return text
    what = ", ".join(_named(one) for one in attached)
    return "\n".join(filter(None, (text, f"(The contact has sent {what}. You cannot open it: say so if it matters.)")))


def _named(one: Attached) -> str:
    kind = "a voice message" if one.is_voice else _KINDS.get(one.content_type.partition("/")[0], "a document")
    return f"{kind} named {one.name!r}" if one.name else kind
