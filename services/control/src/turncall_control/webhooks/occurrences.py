"""Which event comes on which channel, and in which state of a call or session: what users are promised, as data."""

from collections.abc import Mapping
from inspect import getdoc
from typing import Final, get_args

from msgspec import Struct
from msgspec.structs import replace

from turncall_control.webhooks.disabling import DISABLED
from turncall_control.webhooks.runs import RUN_EVENTS
from turncall_control.webhooks.sender import TEST
from turncall_control.webhooks.sessions import CREATED, DOCUMENT_EVENTS, EXPIRED, RECEIVED, SENT, SESSION_EVENTS
from turncall_proto.call import FINAL, CallState, Channel, TextChannel
from turncall_proto.events import PUBLIC_TAGS, Event

_OVER: Final = tuple(state for state in CallState if state in FINAL)
_S = CallState


class Occurrence(Struct, frozen=True, kw_only=True):
    """``states``: where the call stands, by all facts stored up to the event. ``channels``: on whose calls it comes."""

    states: tuple[CallState, ...]
    channels: tuple[Channel, ...] = get_args(Channel)


_NOT_WHATSAPP: Final[tuple[Channel, ...]] = ("phone", "browser")
"""WhatsApp brings a call to no other worker, and tells of no keys in its webhooks."""
_LIVE: Final = Occurrence(states=(_S.IN_PROGRESS, _S.TRANSFERRING, _S.HANDED_OFF, *_OVER))
"""Of a call that is going on. The carrier's last word may be stored before the worker's last facts are."""

_TRANSFER: Final = Occurrence(states=(_S.TRANSFERRING, _S.IN_PROGRESS, *_OVER), channels=("phone",))
"""The carrier may say what becomes of a transfer before the worker's word that it let go is stored."""

OCCURRENCES: Final[Mapping[str, Occurrence]] = {
    "call.initializing": Occurrence(states=(_S.INITIATED,)),
    "call.ringing": Occurrence(states=(_S.RINGING,), channels=("phone", "whatsapp")),
    "call.answered": Occurrence(states=(_S.IN_PROGRESS, *_OVER)),
    "call.started": _LIVE,
    "call.resumed": replace(_LIVE, channels=_NOT_WHATSAPP),
    "transfer.answered": _TRANSFER,
    "call.transferred": _TRANSFER,
    "transfer.failed": _TRANSFER,
    "call.handoff": Occurrence(states=(_S.HANDED_OFF, *_OVER)),
    "transcript.final": _LIVE,
    "tool.called": _LIVE,
    "tool.result": _LIVE,
    "voicemail.detected": Occurrence(states=(_S.VOICEMAIL, *_OVER), channels=("phone",)),
    "dtmf.received": replace(_LIVE, channels=_NOT_WHATSAPP),
    "context.injected": _LIVE,
    "recording.ready": _LIVE,
    "call.ended": Occurrence(states=_OVER),
    "analysis.completed": Occurrence(states=_OVER),
}
"""Every public fact of a call. An event that is missing here fails a test."""


class Written(Struct, frozen=True, kw_only=True):
    """``states``: where the session stands. ``channels``: on which, as the event's data names them."""

    states: tuple[str, ...] = ("active",)
    channels: tuple[TextChannel, ...] = get_args(TextChannel)


SESSION_OCCURRENCES: Final[Mapping[str, Written]] = {
    CREATED: Written(),
    RECEIVED: Written(),
    SENT: Written(states=("active", "ended")),
    EXPIRED: Written(states=("expired",)),
}
"""Every event of a session. An agent may end one with its last words."""


APART: Final[Mapping[str, str]] = {
    **DOCUMENT_EVENTS,
    **RUN_EVENTS,
    DISABLED: "The platform sends no more to a subscription. The others hear of it.",
    TEST: "Somebody tries a subscription, which alone hears of it.",
}
"""Every event of no call and no session, which comes on no channel."""


def apart_table() -> str:
    """The README's table of the events that come on no channel."""
    rows = [f"| `{tag}` | {said} |" for tag, said in APART.items()]
    return "\n".join(["| Event | What it says |", "|---|---|", *rows])


def sessions_table() -> str:
    """The README's table of sessions' events, on every channel of text."""
    rows = [
        f"| `{tag}` | {SESSION_EVENTS[tag]} | {', '.join(found.channels)} | {_states(found)} |"
        for tag, found in SESSION_OCCURRENCES.items()
    ]
    return "\n".join(["| Event | What it says | Channels | State of the session |", "|---|---|---|---|", *rows])


def _states(found: Written) -> str:
    return ", ".join(f"`{state}`" for state in found.states)


def table() -> str:
    """The table of the README: every public event, what it says, where and when it comes."""
    said = {str(kind.__struct_config__.tag): (getdoc(kind) or "").split("\n")[0] for kind in Event.__args__}
    rows = [
        f"| `{tag}` | {said[tag]} | {', '.join(found.channels)} | {_words(found.states)} |"
        for tag, found in OCCURRENCES.items()
        if tag in PUBLIC_TAGS
    ]
    return "\n".join(["| Event | What it says | Channels | State of the call |", "|---|---|---|---|", *rows])


def _words(states: tuple[CallState, ...]) -> str:
    """The states in words, all the final ones as one."""
    if set(_OVER) <= set(states):
        return ", ".join([*(f"`{state}`" for state in states if state not in FINAL), "final"])
    return ", ".join(f"`{state}`" for state in states)
