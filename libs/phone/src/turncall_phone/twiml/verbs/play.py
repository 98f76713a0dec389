"""<Play>: an audio file, or the tones of keys."""

import numpy as np

from turncall_phone import mulaw
from turncall_phone.mulaw import Samples
from turncall_phone.tones import KEYS, dial_tones
from turncall_phone.twiml.grammar import Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb
from turncall_phone.wav import BadWav, read_wav
from turncall_phone.webhooks import WebhookFailed

MAX_AUDIO_BYTES = 16 << 20
_RAW_MULAW = frozenset({"audio/basic", "audio/ulaw"})


class AudioRefused(ValueError):
    """The answer holds no audio that can be played (12300)."""


def read_audio(body: bytes, content_type: str) -> Samples:
    """int16 at 8 kHz out of a 16-bit PCM WAV or raw mu-law; raises AudioRefused."""
    if content_type.partition(";")[0].strip().lower() in _RAW_MULAW:
        return mulaw.decode(body)
    try:
        return read_wav(body)
    except BadWav as error:
        raise AudioRefused(f"{content_type or 'an answer without a type'} cannot be played: {error}") from error


async def run(verb: Element, leg: Leg) -> Step:
    """Play the file at the URL in the text, or the tones of `digits`; what cannot be played is skipped with an alert.

    `loop` repeats it (1 unless given, 0 for ever).
    """
    sound = _tones(verb, leg) if verb.get("digits") else await _file(verb, leg)
    loop = verb.get("loop", "1")
    times = int(loop) if loop.isdigit() else 1
    played = 0
    while len(sound) and (times == 0 or played < times):
        await leg.call.line.play(sound)
        played += 1
    return Flow.NEXT


def _tones(verb: Element, leg: Leg) -> Samples:
    digits = verb.get("digits")
    if set(digits.upper()) <= set(KEYS + "W"):
        return dial_tones(digits)
    leg.alert(12200, f"<Play digits={digits!r}> holds what is no key")
    return np.zeros(0, dtype=np.int16)


async def _file(verb: Element, leg: Leg) -> Samples:
    url = leg.resolve(verb.text)
    hook = leg.exchange.webhook(leg.call, "media", url, (), method="GET", max_bytes=MAX_AUDIO_BYTES)
    try:
        answer = await leg.exchange.webhooks.send(hook, leg.call.cookies)
        if answer.status != 200:
            raise WebhookFailed(11200, f"{answer.url} answered {answer.status}")
        return read_audio(answer.body, answer.content_type)
    except WebhookFailed as failure:
        leg.alert(failure.code, f"<Play>: {failure.detail}")
    except AudioRefused as error:
        leg.alert(12300, f"<Play>: {error}")
    return np.zeros(0, dtype=np.int16)


VERB = Verb(grammar=Grammar(attributes=frozenset({"loop", "digits"})), run=run)
