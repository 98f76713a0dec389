"""Whether a call is recorded at this moment, and the facts about that."""

from collections.abc import Callable
from typing import Literal

from turncall_media.report.events import Narrator
from turncall_media.report.recorder import Recorder

By = Literal["keys", "words", "silence", "command", "model"]


class RecordingSwitch:
    """Turns one call's recorder on and off. ``recorder`` is None where nothing is recorded.

    ``now_ms`` is where the audio clock stands. ``is_awaited``: the caller has not been asked yet. ``is_allowed``: they
    have consented, or need not.
    """

    def __init__(self, recorder: Recorder | None, narrator: Narrator, now_ms: Callable[[], float]) -> None:
        self._recorder = recorder
        self._narrator = narrator
        self._now_ms = now_ms
        self._is_allowed = False
        self._is_paused = False

    @property
    def is_recorded(self) -> bool:
        """Whether there is, or after a pause will be, a recording."""
        return self._recorder is not None and self._is_allowed

    def begin(self, *, is_paused: bool) -> None:
        """Records from here on, without a word about it: nobody is asked, or an earlier worker of the call did that."""
        self._is_allowed, self._is_paused = True, is_paused
        if self._recorder is not None:
            self._recorder.begin(self._now_ms())
            if is_paused:
                self._recorder.pause(self._now_ms())

    def decided(self, *, is_given: bool, by: By) -> None:
        """The caller has allowed it or not."""
        self._narrator.recording_changed("consented" if is_given else "declined", by)
        if is_given:
            self.begin(is_paused=False)

    def pause(self, by: By) -> bool:
        """Leaves out what is said from here on; whether there is a recording to pause. A second one changes nothing."""
        if self.is_recorded and not self._is_paused and self._recorder is not None:
            self._is_paused = True
            self._recorder.pause(self._now_ms())
            self._narrator.recording_changed("paused", by)
        return self.is_recorded

    def resume(self, by: By) -> bool:
        """Records again; whether there is a recording to resume."""
        if self.is_recorded and self._is_paused and self._recorder is not None:
            self._is_paused = False
            self._recorder.resume()
            self._narrator.recording_changed("resumed", by)
        return self.is_recorded
