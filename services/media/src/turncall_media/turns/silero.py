"""Silero's voice detector, one ONNX session for the whole process; what a call remembers is the call's own.

Loading takes 25 ms and 10 MB, so it happens once; a window of 32 ms at 8 kHz takes 75 µs, so it runs on the event loop.
The model (MIT licence, snakers4/silero-vad v5) comes inside Pipecat's wheel.
"""

import functools
from importlib import resources
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from turncall_media.audio.sound import TELEPHONE, Sound

WINDOW_MS: Final = 32
"""What the model is asked about at a time, behind this much context."""
_CONTEXT_MS: Final = 4


class Silero:
    """The weights. Holds nothing of any call, so that every call may share it."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])

    def score(
        self, window: NDArray[np.float32], state: NDArray[np.float32], rate: NDArray[np.int64]
    ) -> tuple[float, NDArray[np.float32]]:
        """The probability of speech in one window behind its context, and the state for the next window."""
        speech, state = self._session.run(None, {"input": window, "state": state, "sr": rate})
        return float(speech[0, 0]), state


@functools.cache
def load() -> Silero:
    """The model, read once in a process: it is constant, so sharing it shares no state."""
    return Silero(resources.files("pipecat.audio.vad.data").joinpath("silero_vad.onnx").read_bytes())


class Ear:
    """What one call remembers between windows."""

    def __init__(self, silero: Silero, sound: Sound = TELEPHONE) -> None:
        self._silero = silero
        self._rate = np.array(sound.rate_hz, dtype=np.int64)
        self._context = _CONTEXT_MS * sound.samples_per_ms
        self._state = np.zeros((2, 1, 128), np.float32)
        self._input = np.zeros((1, self._context + WINDOW_MS * sound.samples_per_ms), np.float32)

    def score(self, window: NDArray[np.int16]) -> float:
        """The probability, 0 to 1, that a window of `WINDOW_MS` holds speech."""
        self._input[0, : self._context] = self._input[0, -self._context :]
        np.divide(window, 32768.0, out=self._input[0, self._context :], casting="unsafe")
        speech, self._state = self._silero.score(self._input, self._state, self._rate)
        return speech

    def reset(self) -> None:
        """Forgets: long silence or music leaves the model deaf to the speech that follows."""
        self._state = np.zeros((2, 1, 128), np.float32)
        self._input[:] = 0
