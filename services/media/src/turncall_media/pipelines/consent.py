"""Whether a caller allows the recording: asked once, before anything else is said, and kept to whoever serves the call.

Only a clear yes is one. Keys are certain; words are told by a short list in the agent's language, and whoever says
something else has not consented, and is answered by the model.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from pipecat.frames.frames import Frame, LLMContextFrame

from turncall_media.pipelines.apologies import may_we_record
from turncall_media.pipelines.speech import Speech
from turncall_media.pipelines.story import KEYPAD_PREFIX
from turncall_media.report.events import Narrator
from turncall_media.report.switch import RecordingSwitch
from turncall_proto.agent import AgentSpec, RecordingConsent

LONGEST_YES: Final = 8
"""Words; a longer answer says more than yes."""
HEARD_WITHIN_S: Final = 60.0
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YES: Final = {
    "de": "ja|jawohl|gern|gerne|okay|ok|einverstanden|natürlich|in ordnung|sicher",
    "en": "yes|yeah|yep|sure|okay|ok|of course|go ahead|i agree|i consent|certainly|fine",
    "es": "sí|si|claro|vale|de acuerdo|por supuesto|okay|ok",
    "fr": "oui|ouais|d'accord|bien sûr|okay|ok|volontiers",
    "it": "sì|si|certo|va bene|d'accordo|okay|ok|certamente",
    "nl": "ja|prima|goed|natuurlijk|akkoord|oké|okay|ok|zeker",
    "pl": "tak|zgoda|dobrze|oczywiście|jasne|okay|ok|zgadzam się",
    "pt": "sim|claro|está bem|de acordo|com certeza|okay|ok",
}
_NO: Final = {
    "de": "nein|nicht|nö|kein|keine|keinesfalls|lieber",
    "en": "no|nope|not|don't|do not|never|rather|refuse|stop",
    "es": "no|nunca|prefiero|jamás",
    "fr": "non|pas|jamais|préfère",
    "it": "no|non|mai|preferisco",
    "nl": "nee|niet|geen|nooit|liever",
    "pl": "nie|nigdy|wolę",
    "pt": "não|nunca|prefiro",
}

Answer = Literal["yes", "no", "unclear"]


def understood(text: str, language: str, keys: RecordingConsent) -> Answer:
    """What a caller's turn says to the question; in a language without a list, words say nothing and keys alone do."""
    if text.startswith(KEYPAD_PREFIX):
        pressed = text.removeprefix(KEYPAD_PREFIX)
        return "yes" if pressed[:1] == keys.yes_key else "no" if pressed[:1] == keys.no_key else "unclear"
    spoken = " ".join(_WORD.findall(text.lower().replace("’", "'")))
    tongue = language.split("-", maxsplit=1)[0]
    if _holds(spoken, _NO.get(tongue)):
        return "no"
    return "yes" if len(spoken.split()) <= LONGEST_YES and _holds(spoken, _YES.get(tongue)) else "unclear"


def expected(language: str) -> tuple[str, ...]:
    """What callers may answer, for an ear that must know beforehand."""
    tongue = language.split("-", maxsplit=1)[0]
    return tuple(phrase for words in (_YES, _NO) for phrase in words.get(tongue, "").split("|") if phrase)


def _holds(spoken: str, words: str | None) -> bool:
    return words is not None and re.search(rf"(?<![\w'])(?:{words})(?![\w'])", spoken) is not None


class Consent:
    """The question and its answer. While it is open, what the caller says is not put to the model."""

    def __init__(self, agent: AgentSpec, switch: RecordingSwitch, narrator: Narrator) -> None:
        self._agent = agent
        self._narrator = narrator
        self._switch = switch
        self._is_open = False
        self._answer: tuple[Answer, bool] | None = None
        self._settled = asyncio.Event()

    def heard(self, text: str) -> None:
        """The caller's turn, before the model is asked about it."""
        if self._is_open and self._answer is None:
            answer = understood(text, self._agent.language, self._agent.recording_consent)
            self._answer = answer, text.startswith(KEYPAD_PREFIX)

    @property
    def is_open(self) -> bool:
        """Whether the caller's next words are the answer, and not the model's to reply to."""
        return self._is_open

    def heard_late(self, text: str) -> None:
        """The words of a turn that nobody replied to, because the question was open."""
        self.heard(text)
        if self._is_open and self._answer is not None:
            self._is_open = False
            self._settled.set()

    def holds(self, frame: Frame) -> bool:
        """Whether the model is not to be asked, since the caller answers the question."""
        if not self._is_open or not isinstance(frame, LLMContextFrame):
            return False
        if self._answer is not None:
            self._is_open = False
            self._settled.set()
        return True

    async def ask(self, speech: Speech) -> Answer | None:
        """Asks, waits, and switches the recording on or leaves it off; the answer, None for silence."""
        terms = self._agent.recording_consent
        self._is_open = True
        await speech.say(terms.line or may_we_record(self._agent.language, terms.yes_key), is_kept=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARD_WITHIN_S):
                await speech.heard()
        await self._await_answer(terms.answer_within_s, lambda: self._narrator.is_busy)
        self._is_open = False
        if self._answer is None:
            self._switch.decided(is_given=False, by="silence")
            return None
        answer, is_keys = self._answer
        self._switch.decided(is_given=answer == "yes", by="keys" if is_keys else "words")
        return answer

    async def _await_answer(self, within_s: float, is_speaking: Callable[[], bool]) -> None:
        """Until there is one, or nobody has spoken for ``within_s``."""
        while True:
            try:
                async with asyncio.timeout(within_s):
                    await self._settled.wait()
                return
            except TimeoutError:
                if not is_speaking():
                    return
