"""The rest of a caller's words whose beginning no worker heard: silence takes its place.

A call that goes on here may find its caller in the middle of a sentence. Half a sentence is understood as another one
("...day" as any day of the week, the end of a question as a correction), so it is not listened to. Pure.
"""

from collections.abc import Iterable
from typing import Final, Literal

from turncall_media.audio.sound import TELEPHONE, Sound
from turncall_media.turns.silero import WINDOW_MS
from turncall_media.turns.voice import VoiceChange

FROM_THE_START_MS: Final = 200
"""A voice that is there so soon was there before the audio began; the pause between two words is shorter."""
AT_MOST_MS: Final = 10_000
"""A line whose noise passes for a voice is listened to after all."""


class Fragment:
    """Follows the start of one caller's audio. ``start_ms`` is after how much speech a voice counts as begun.

    ``is_midway``: another worker had the call before; otherwise everything passes. ``is_found`` says, once known,
    whether the caller was in the middle of something.
    """

    def __init__(self, start_ms: int, sound: Sound = TELEPHONE, *, is_midway: bool) -> None:
        self._bytes_per_ms = sound.bytes_per_ms
        self.is_found = False
        self._state: Literal["open", "cut", "whole"] = "open" if is_midway else "whole"
        self._known_after_ms = FROM_THE_START_MS + start_ms + 2 * WINDOW_MS
        self._fed_ms = 0.0
        self._held = b""

    def take(self, pcm: bytes, changes: Iterable[VoiceChange]) -> tuple[bytes, list[VoiceChange]]:
        """What is to be heard of ``pcm`` (mono s16le) and of the changes that it made known.

        Nothing passes until it is known whether a voice was there from the start; then all of it does, as silence or as
        it came.
        """
        if self._state == "whole":
            return pcm, list(changes)
        self._fed_ms += len(pcm) / self._bytes_per_ms
        self._held += pcm
        passed: list[VoiceChange] = []
        for change in changes:
            if self._state == "open" and change.kind == "began" and change.at_ms <= FROM_THE_START_MS:
                self._state, self.is_found = "cut", True
            elif self._state == "cut" and change.kind == "ended":
                return self._end(bytes(len(self._held)), passed)
            else:
                passed.append(change)
        if self._state == "open":
            return self._end(self._held, passed) if passed or self._fed_ms >= self._known_after_ms else (b"", passed)
        if self._fed_ms >= AT_MOST_MS:
            passed.append(VoiceChange("began", round(self._fed_ms), 0))
            return self._end(bytes(len(self._held)), passed)
        silence, self._held = bytes(len(self._held)), b""
        return silence, passed

    def _end(self, pcm: bytes, passed: list[VoiceChange]) -> tuple[bytes, list[VoiceChange]]:
        self._state, self._held = "whole", b""
        return pcm, passed
