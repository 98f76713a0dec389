"""Lossy news of a live call, for whoever is looking at this moment. Nothing here is stored or becomes a webhook."""

from typing import Literal

from msgspec import Struct

from turncall_proto.ids import CallId, SessionId
from turncall_proto.marks import Speech


class TextDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="message.delta"):
    """The next words of an answer that is being written; ``through`` is the message that it answers."""

    session_id: SessionId
    through: int
    text: Speech


class TranscriptPartial(Struct, frozen=True, kw_only=True, tag_field="type", tag="transcript.partial"):
    """What somebody seems to be saying; the next one, or the final transcript of the turn, replaces it."""

    call_id: CallId
    epoch: int
    turn: int
    speaker: Literal["caller", "agent"]
    text: Speech
