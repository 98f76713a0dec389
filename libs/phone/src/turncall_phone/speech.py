"""Text to 8 kHz audio for <Say> and for callers: espeak-ng where its wheel is installed, else a hum."""

import ctypes
import functools
import importlib
import shutil
import tempfile
import threading
from typing import Any, Protocol

import numpy as np

from turncall_phone.tones import tone
from turncall_phone.wav import to_8khz


class Speak(Protocol):
    """A voice. Called off the event loop."""

    def __call__(self, text: str, voice: str = "", /) -> bytes:
        """Mono s16le at 8 kHz for a text; in another `voice` than its own, ValueError when there is no such one."""
        ...


# Of the loud frames of what the own voice says: what noise is measured against.
SPOKEN_RMS = 4000.0

_WORD_MS = 320
_GAP_MS = 80
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE = 1
# Of six espeak-ng callers over a telephone path, the one that a recogniser understood best: 216 of 220 short phrases,
# where the library's own choice (British, 175 words a minute) had 36 of 72.
_VOICE = "en-us+klatt4"
_WORDS_PER_MINUTE = 150
# The library keeps one state for the whole process, so one text is spoken at a time whoever asks.
_LIBRARY_LOCK = threading.Lock()
_CHUNK_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def _started(library_path: str, data_path: str) -> tuple[ctypes.CDLL, int]:
    """The library and its rate, started once per process: started twice it says a sixth of each text.

    Its state belongs to the loaded file, so a copy is loaded: another user of the wheel in this process starts its own.
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as copy:
        shutil.copyfile(library_path, copy.name)
        library = ctypes.CDLL(copy.name)
    rate_hz: int = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), 0)
    if rate_hz <= 0:
        raise RuntimeError(f"espeak-ng did not start: no voice data under {data_path}")
    return library, rate_hz


class EspeakVoice:
    """espeak-ng in this process; raises RuntimeError when its voice data is missing."""

    def __init__(self, library_path: str, data_path: str) -> None:
        with _LIBRARY_LOCK:
            self._library, self._rate_hz = _started(library_path, data_path)
        self._chunks: list[bytes] = []
        # Held for as long as the library may call it.
        self._callback = _CHUNK_CALLBACK(self._keep)

    def __call__(self, text: str, voice: str = "", /) -> bytes:
        """Mono s16le at 8 kHz; empty for a text without words. Raises ValueError for a voice that there is not."""
        raw = text.encode()
        with _LIBRARY_LOCK:
            self._chunks = []
            if self._library.espeak_SetVoiceByName((voice or _VOICE).encode()):
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            self._library.espeak_SetParameter(_RATE, _WORDS_PER_MINUTE, 0)
            self._library.espeak_SetSynthCallback(self._callback)
            self._library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
            self._library.espeak_Synchronize()
            spoken = np.frombuffer(b"".join(self._chunks), dtype=np.int16)
        return to_8khz(spoken, self._rate_hz).tobytes()

    def _keep(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0


def hum(text: str, _voice: str = "", /) -> bytes:
    """A tone burst for each word, 320 ms with a gap of 80 ms: loud where speech would be loud."""
    word = np.concatenate([tone((220, 440), _WORD_MS, amplitude=4000), np.zeros(8 * _GAP_MS, dtype=np.int16)])
    return bytes(word.tobytes() * len(text.split()))


def default_speak() -> Speak:
    """An espeak-ng voice when the `espeakng_loader` wheel can be imported, else `hum`."""
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError:
        return hum
    return EspeakVoice(loader.get_library_path(), loader.get_data_path())
