"""What machines say when they answer, in a few languages, and what assistants ask who screen calls for somebody. Pure.

Only phrases that people hardly ever say when they pick up: a receptionist says "you have reached" too.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_MACHINES: Final = {
    "en": (
        "leave a message",
        "leave me a message",
        "leave your message",
        "leave your name",
        "leave a voicemail",
        "record your message",
        "after the tone",
        "after the beep",
        "at the tone",
        "at the beep",
        "take your call right now",
        "take your call at the moment",
        "come to the phone",
        "voicemail box",
        "voice mailbox",
        "mailbox is full",
        "automated voice messaging",
        "has been forwarded to",
    ),
    "de": (
        "nachricht hinterlassen",
        "hinterlassen sie",
        "hinterlasst mir",
        "nach dem signalton",
        "nach dem ton",
        "nach dem piep",
        "anrufbeantworter",
        "die mailbox",
    ),
    "es": ("deje su mensaje", "deje un mensaje", "deja tu mensaje", "despues de la senal", "buzon de voz"),
    "fr": ("laissez un message", "laissez moi un message", "apres le bip", "apres le signal", "messagerie vocale"),
}
_SCREENERS: Final = {
    "en": (
        "record your name",
        "state your name",
        "say your name",
        "reason for calling",
        "reason for your call",
        "why you re calling",
        "why you are calling",
        "call screening",
        "screening service",
        "call assist",
    ),
    "de": ("nennen sie ihren namen", "grund ihres anrufs", "warum sie anrufen"),
    "es": ("diga su nombre", "motivo de su llamada"),
    "fr": ("dites votre nom", "raison de votre appel"),
}


def machines(language: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """By what a machine is known in this language (BCP 47), as `plain` has it; those of English too, and ``more``."""
    return (*_of(_MACHINES, language), *(plain(phrase) for phrase in more))


def screeners(language: str) -> tuple[str, ...]:
    """By what an assistant is known that asks who calls, and why."""
    return _of(_SCREENERS, language)


def plain(text: str) -> str:
    """Lower case, without accents, signs and double blanks, so that spellings of several recognisers are one."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.sub(r"[^\w\s]", " ", "".join(c for c in bare if not unicodedata.combining(c))).split())


def holds(text: str, phrases: Iterable[str]) -> bool:
    """Whether one of ``phrases`` stands in ``text`` in whole words; both are `plain`."""
    padded = f" {text} "
    return any(f" {phrase} " in padded for phrase in phrases)


def _of(known: dict[str, tuple[str, ...]], language: str) -> tuple[str, ...]:
    own = language.partition("-")[0]
    return (*known["en"], *(known.get(own, ()) if own != "en" else ()))
