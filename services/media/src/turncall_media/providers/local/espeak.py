"""espeak-ng in this process, through ctypes: speech and pronunciations.

The library keeps its voice and its parameters for the whole process, so there is one `Espeak`, whoever asks, and one
lock. A sentence of 2.8 s takes 7 ms (measured), which the lock makes others wait at most once for each.
"""

import ctypes
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import espeakng_loader
from msgspec import Struct

from turncall_media.errors import VendorUnusable

_SYNCHRONOUS: Final = 2
_UTF8: Final = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_IPA_DIVIDED_BY_UNDERSCORES: Final = 0x02 | ord("_") << 8
_CHUNK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Voice(Struct, frozen=True, kw_only=True):
    """How a text is spoken. ``name`` as espeak-ng lists them, with a variant after a plus sign: ``en-us+f3``."""

    name: str
    words_per_minute: int = 160
    pitch: int = 50
    volume: int = 100


class Espeak:
    """The library, started. Its methods block for milliseconds: call them off the event loop."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        self._callback = _CHUNK(self._keep)  # held for as long as the library may call it
        self.rate_hz: int = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0
        )
        if self.rate_hz <= 0:
            raise VendorUnusable("espeak-ng finds no voices: reinstall espeakng-loader")
        self._library.espeak_SetSynthCallback(self._callback)

    def has(self, voice: str) -> bool:
        """Whether there is a voice of this name; the library itself passes over a variant that it does not know."""
        variant = voice.partition("+")[2]
        if variant and not (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file():
            return False
        with self._lock:
            return self._choose(voice)

    def speak(self, text: str, voice: Voice) -> bytes:
        """Mono s16le at ``rate_hz``; empty for a text without words. Raises `VendorUnusable` for an unknown voice."""
        raw = text.encode()
        with self._lock:
            if not self._choose(voice.name):
                raise VendorUnusable(f"espeak-ng has no voice {voice.name!r}")
            self._library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
            self._library.espeak_SetParameter(_VOLUME, voice.volume, 0)
            self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
            self._chunks = []
            self._library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
            self._library.espeak_Synchronize()
            return b"".join(self._chunks)

    def phonemes(self, word: str, voice: Literal["en-us"] = "en-us") -> tuple[str, ...]:
        """How the voice says a word, in IPA, one phoneme an item, stress marks included."""
        text = ctypes.c_char_p(word.encode())
        with self._lock:
            self._choose(voice)
            said: bytes | None = self._library.espeak_TextToPhonemes(
                ctypes.byref(text), _UTF8, _IPA_DIVIDED_BY_UNDERSCORES
            )
        return tuple(part for part in (said or b"").decode().replace(" ", "_").split("_") if part)

    def _choose(self, voice: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(voice.encode()) == 0)

    def _keep(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0


_STARTING = threading.Lock()
"""`cache` alone lets two threads start the library at once, which aborts the process."""


def espeak() -> Espeak:
    """The one of this process: the library cannot be started twice. Takes some 10 ms at first."""
    with _STARTING:
        return _started()


@cache
def _started() -> Espeak:
    return Espeak()
