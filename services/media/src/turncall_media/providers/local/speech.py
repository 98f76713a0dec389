"""A script, a recogniser and a voice behind the interface of a model that hears and speaks: no key, no network.

It is three parts and not one model, and takes no longer for it: it stands in for one in a newcomer's first call, in
tests, and where there is no internet.
"""

import asyncio
import re
import uuid
from typing import Any, Final

from msgspec import Struct
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService

from turncall_media.audio.sound import Sound
from turncall_media.providers.local import llm, stt, tts
from turncall_media.providers.local.dialogue import reply
from turncall_media.providers.local.espeak import Voice
from turncall_media.providers.local.grammar import Grammar
from turncall_media.providers.local.llm import DelayMs
from turncall_media.providers.local.script import Script
from turncall_media.providers.local.stt import LeastScore
from turncall_media.providers.local.tts import VoiceName, WordsPerMinute
from turncall_media.stages.exchange import (
    AnswerFrame,
    CallerTurn,
    CallerWordsFrame,
    HeardUntilFrame,
    SaidFrame,
    SayFrame,
)
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.settings import name_alone

CAPABILITIES = Capabilities(needs_secret=False, rates_hz=(8000, 16_000))

REHEARSAL: Final = llm.REHEARSAL
_BETWEEN_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The script, how surely its phrases are to be understood, and the voice that plays it."""

    script: Script
    delay_ms: DelayMs = 0
    least_score: LeastScore = -5.0
    voice: VoiceName = ""
    words_per_minute: WordsPerMinute = 160


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """Plays the script for English callers. Raises `VendorUnusable` for another language, an unknown voice, or a line
    that refers to something that nothing fills."""
    llm.check(options.script)
    expected = stt.expecting((*llm.expects(llm.Options(script=options.script)), *context.expected_phrases), context)
    voice = Voice(
        name=tts.known_voice(options.voice, context.language),
        words_per_minute=options.words_per_minute,
    )
    return ScriptedSpeechService(options, expected, voice, context)


def warm() -> None:
    """Loads what recogniser and voice share among calls."""
    stt.warm()
    tts.warm()


class ScriptedSpeechService(LLMService[Any]):
    """Answers from what was said alone, so a conversation can go on in another process. What is not understood is
    answered with silence; the prompt changes nothing."""

    def __init__(self, options: Options, expected: Grammar, voice: Voice, context: BuildContext) -> None:
        super().__init__(settings=name_alone("script"))
        self._options = options
        self._expected = expected
        self._voice = voice
        self._rate_hz = context.rate_hz
        self._conversation = context.conversation or LLMContext()
        self._turn = CallerTurn(Sound(context.rate_hz))

    def can_generate_metrics(self) -> bool:
        """True: words as tokens."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """The caller's audio ends here; each request has its reply; everything else passes."""
        await super().process_frame(frame, direction)
        match frame:
            case InputAudioRawFrame():
                self._turn.hear(frame.audio)
            case AnswerFrame():
                await self._answer(frame)
            case LLMContextFrame():
                await self.push_frame(LLMFullResponseStartFrame())
                await self._play()
            case SayFrame():
                await self.push_frame(LLMFullResponseStartFrame())
                await self._speak(frame.text, is_kept=frame.is_kept)
                await self.push_frame(LLMFullResponseEndFrame())
            case HeardUntilFrame():
                pass  # the conversation holds what was heard, and nothing else is asked
            case _:
                if isinstance(frame, VADUserStartedSpeakingFrame):
                    self._turn.begin()
                elif isinstance(frame, StartFrame):
                    stt.prepare(self._expected)
                await self.push_frame(frame, direction)

    async def _answer(self, asked: AnswerFrame) -> None:
        """An interruption cancels the answer, not the hearing: what was said belongs to the conversation."""
        hearing = self.create_task(self._hear(asked.turn, self._turn.end()), "hear")
        if not asked.is_answered:
            return
        await self.push_frame(LLMFullResponseStartFrame())
        if await asyncio.shield(hearing):
            await self._play()
        else:
            await self.push_frame(LLMFullResponseEndFrame())

    async def _hear(self, turn: int, audio: bytes) -> str:
        said = await stt.understood(audio, self._rate_hz, self._expected, self._options.least_score)
        await self.push_frame(CallerWordsFrame(turn, said))
        return said

    async def _play(self) -> None:
        messages: list[Any] = self._conversation.get_messages()
        await asyncio.sleep(self._options.delay_ms / 1000)
        answer = reply(self._options.script, messages)
        await self._speak(answer.text, is_kept=True)
        await self.start_llm_usage_metrics(llm.usage(messages, answer))
        await self.run_function_calls(llm.function_calls(answer, self._conversation))
        await self.push_frame(LLMFullResponseEndFrame())

    async def _speak(self, text: str, *, is_kept: bool) -> None:
        sentences = [sentence for sentence in _BETWEEN_SENTENCES.split(text.strip()) if sentence]
        if not sentences:
            return
        reply_id = uuid.uuid4().hex
        await self.push_frame(TTSStartedFrame(context_id=reply_id, append_to_context=is_kept))
        for sentence in sentences:
            await self.push_frame(SaidFrame(sentence))
            speech = await asyncio.to_thread(tts.synthesise, sentence, self._voice, self._rate_hz)
            for chunk in tts.chunks(speech, self._rate_hz):
                await self.push_frame(TTSAudioRawFrame(chunk, self._rate_hz, 1, context_id=reply_id))
        await self.push_frame(TTSStoppedFrame(context_id=reply_id))
