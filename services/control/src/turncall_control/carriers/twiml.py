"""The documents that answer Twilio's questions, in TwiML."""

from typing import Final

from twilio.twiml.voice_response import Connect, Dial, Gather, VoiceResponse

SPEAKS: Final = True
NOTHING: Final = "<Response/>"
"""The document that answers a message: what there is to say is sent by request."""

_KEY_NAMES: Final = {"*": "star", "#": "hash"}


def connect_stream(*, stream_url: str, action_url: str) -> str:
    """Hands the call's audio to ``stream_url``; when that ends, Twilio asks ``action_url`` what comes next.

    Nothing follows ``<Connect>``: with an action, later verbs are unreachable.
    """
    response = VoiceResponse()
    connect = Connect(action=action_url, method="POST")
    connect.stream(url=stream_url)
    response.append(connect)
    return str(response)


def hold(*, sentence: str | None, pause_s: int, ask_url: str) -> str:
    """Speaks ``sentence``, if any, is silent for whole seconds, and has Twilio ask ``ask_url`` what comes next."""
    response = VoiceResponse()
    if sentence is not None:
        response.say(sentence)
    response.pause(length=pause_s)
    response.redirect(ask_url, method="POST")
    return str(response)


def forward(*, sentence: str | None, number: str, caller_id: str, ring_s: int, action_url: str) -> str:
    """Speaks ``sentence``, if any, rings ``number`` and joins the caller to it, then has Twilio ask ``action_url``."""
    response = VoiceResponse()
    if sentence is not None:
        response.say(sentence)
    dial = Dial(action=action_url, method="POST", timeout=ring_s, caller_id=caller_id, answer_on_bridge=True)
    dial.number(number)
    response.append(dial)
    return str(response)


def connect_to(*, to: str, caller_id: str, ring_s: int, action_url: str, status_url: str) -> str:
    """Rings a number or a SIP address and joins the caller to it, then has Twilio ask ``action_url``."""
    response = VoiceResponse()
    dial = Dial(action=action_url, method="POST", timeout=ring_s, caller_id=caller_id)
    told = {
        "status_callback": status_url,
        "status_callback_method": "POST",
        "status_callback_event": "answered completed",
    }
    if to.startswith("+"):
        dial.number(to, **told)
    else:
        dial.sip(to, **told)
    response.append(dial)
    return str(response)


def wait_in_room(*, room: str, action_url: str, status_url: str) -> str:
    """Has the caller wait in a conference, to Twilio's music, until somebody starts it."""
    response = VoiceResponse()
    dial = Dial(action=action_url, method="POST")
    dial.conference(room, start_conference_on_enter=False, **_room(status_url))
    response.append(dial)
    return str(response)


def ask_for_key(*, sentence: str, key: str, action_url: str) -> str:
    """Speaks ``sentence`` and which key takes the call; without a key ``action_url`` is asked too."""
    response = VoiceResponse()
    gather = Gather(num_digits=1, finish_on_key="", timeout=10, action=action_url, method="POST")
    gather.say(" ".join(filter(None, (sentence, f"Press {_KEY_NAMES.get(key, key)} to take the call."))))
    response.append(gather)
    response.redirect(action_url, method="POST")
    return str(response)


def join_room(*, sentence: str, room: str, status_url: str) -> str:
    """Speaks ``sentence``, if any, and joins a conference, which ends with this call."""
    response = VoiceResponse()
    if sentence:
        response.say(sentence)
    dial = Dial()
    dial.conference(room, start_conference_on_enter=True, **_room(status_url))
    response.append(dial)
    return str(response)


def _room(status_url: str) -> dict[str, str]:
    """What holds for both sides of a conference: it ends with either, and whoever comes first says what is told."""
    return {
        "end_conference_on_exit": "true",
        "beep": "false",
        "status_callback": status_url,
        "status_callback_method": "POST",
        "status_callback_event": "join leave hold mute",
    }


def reject(*, is_busy: bool) -> str:
    """Ends a ringing call unanswered; it has to be the document's first verb."""
    response = VoiceResponse()
    response.reject(reason="busy" if is_busy else "rejected")
    return str(response)


def say_and_hang_up(sentence: str) -> str:
    """Speaks one sentence and ends the call."""
    response = VoiceResponse()
    response.say(sentence)
    response.hangup()
    return str(response)


def hang_up() -> str:
    """Ends the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)
