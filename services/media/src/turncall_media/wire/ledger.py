"""Which words lie in which samples, and so which words were heard when the samples stopped.

A voice that makes its audio sentence by sentence tells where each sentence ends. One that streams tells only where the
whole utterance ends; then the words are spread over its samples by their length.
"""

import re
from typing import Final

from turncall_media.audio.sound import TELEPHONE, Sound

MS_PER_CHARACTER: Final = 65
"""English speech runs at about 15 characters a second; used only while the end of a sentence is not known."""
_BETWEEN_SENTENCES: Final = re.compile(r"(?<=[.!?…。！？])\s+")


class _Stretch:
    """Sentences that share a range of samples; ``end`` is None while more audio may follow."""

    def __init__(self, texts: list[str], start: int, per_character: int) -> None:
        self._per_character = per_character  # samples
        self.texts = texts
        self.start = start
        self.end: int | None = None

    @property
    def text(self) -> str:
        """All its words."""
        return " ".join(self.texts)

    def heard(self, position: int, so_far: int) -> str:
        """The words of this stretch that lie before ``position``; ``so_far`` is where its audio ends by now."""
        return whole_words(self.text, self._fraction(position, so_far))

    def begun(self, position: int, so_far: int) -> int:
        """How many of its sentences begin before ``position``."""
        if position <= self.start:
            return 0
        characters = self._fraction(position, so_far) * len(self.text)
        starts, begun = 0, 0
        for text in self.texts:
            begun += starts <= characters
            starts += len(text) + 1
        return begun

    def _fraction(self, position: int, so_far: int) -> float:
        """How much of it lies before ``position``, 0 to 1."""
        length = so_far - self.start
        if self.end is None:
            length = max(length, len(self.text) * self._per_character)
        elif position >= self.end:
            return 1.0
        if position <= self.start or not length:
            return 0.0
        return (position - self.start) / length


class Ledger:
    """One utterance of the agent: its sentences and their samples, as positions of the stream."""

    def __init__(self, sound: Sound = TELEPHONE) -> None:
        self._per_character = MS_PER_CHARACTER * sound.samples_per_ms
        self._stretches: list[_Stretch] = []
        self._is_streamed = False
        self._end: int | None = None

    @property
    def text(self) -> str:
        """Everything that the agent means to say in this utterance, so far."""
        return " ".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """The same, sentence by sentence; a text that was announced as a whole is split."""
        return [text for stretch in self._stretches for text in stretch.texts]

    def announce(self, text: str, position: int) -> None:
        """The next sentence; its audio begins at ``position`` or, when the voice streams, somewhere after it."""
        texts = _BETWEEN_SENTENCES.split(text.strip())
        if texts == [""]:
            return
        last = self._stretches[-1] if self._stretches else None
        if last is None or (last.start != position and not self._is_streamed):
            if last is not None and last.end is None:
                last.end = position
            self._stretches.append(_Stretch(texts, position, self._per_character))
        else:
            last.texts.extend(texts)

    def stream(self, text: str, start: int) -> None:
        """The next sentence of a voice that does not tell where it lies in its samples, which begin at ``start``."""
        if not self._is_streamed:
            self.announce(text, start)
            if self._stretches:
                self._stream()
        elif texts := [part for part in _BETWEEN_SENTENCES.split(text.strip()) if part]:
            self._stretches[0].texts.extend(texts)

    def spoken(self, text: str, position: int) -> None:
        """The voice is done with the last announced sentence. No audio since then: it streams, and words come first."""
        if not self._stretches:
            self.announce(text, position)
        if not self._stretches:
            return
        last = self._stretches[-1]
        if self._is_streamed:
            return
        if position == last.start:
            self._stream()
        else:
            last.end = position

    def cut(self, position: int) -> None:
        """The last announced sentence broke off at ``position``: only the words that were spoken by then remain."""
        if self._stretches:
            last = self._stretches[-1]
            last.texts = [words] if (words := last.heard(position, position)) else []
            last.end = position

    def complete(self, position: int) -> None:
        """No more audio or words follow; the utterance ends at ``position``."""
        self._end = position
        if self._stretches and self._stretches[-1].end is None:
            self._stretches[-1].end = position

    def heard(self, position: int, so_far: int) -> str:
        """What the caller heard by ``position``: whole sentences, then the words of the cut one.

        ``so_far`` is where the audio of this utterance ends by now.
        """
        if self._end is not None and position >= self._end:
            return self.text
        heard = (stretch.heard(position, end) for stretch, end in self._with_ends(so_far))
        return " ".join(words for words in heard if words)

    def begun(self, position: int, so_far: int) -> int:
        """How many of `sentences` the caller has begun to hear by ``position``; ``so_far`` as for `heard`."""
        return sum(stretch.begun(position, end) for stretch, end in self._with_ends(so_far))

    def _with_ends(self, so_far: int) -> list[tuple[_Stretch, int]]:
        """Each stretch, and where its audio ends by now."""
        ends = [stretch.start for stretch in self._stretches[1:]] + [self._end or so_far]
        return list(zip(self._stretches, ends, strict=True)) if self._stretches else []

    def _stream(self) -> None:
        """Merges everything into one stretch: the voice does not tell where its sentences end."""
        self._is_streamed = True
        merged, *others = self._stretches
        merged.texts += [text for stretch in others for text in stretch.texts]
        merged.end = None
        self._stretches = [merged]


def whole_words(text: str, fraction: float) -> str:
    """The words of ``text`` that end within its first ``fraction`` (0 to 1), by characters."""
    cut = int(len(text) * fraction)
    if cut >= len(text):
        return text
    if text[cut] != " ":
        cut = text.rfind(" ", 0, cut + 1)
    return text[: max(cut, 0)].rstrip()
