"""WAV files in and out, and the change of rate to the telephone's 8 kHz."""

import io
import wave

import numpy as np

from turncall_phone.mulaw import Samples
from turncall_phone.playout import RATE_HZ


class BadWav(ValueError):
    """The bytes are not a PCM WAV that can be played."""


def read_wav(body: bytes) -> Samples:
    """Mono int16 at 8 kHz from a 16-bit PCM WAV of any rate; channels are averaged. Raises BadWav."""
    try:
        with wave.open(io.BytesIO(body), "rb") as source:
            width, channels, rate_hz = source.getsampwidth(), source.getnchannels(), source.getframerate()
            data = source.readframes(source.getnframes())
    except (wave.Error, EOFError) as error:
        raise BadWav(f"not a PCM WAV: {error}") from error
    if width != 2:
        raise BadWav(f"{8 * width}-bit samples: give 16-bit PCM")
    samples = np.frombuffer(data[: len(data) - len(data) % (2 * channels)], dtype="<i2").reshape(-1, channels)
    return to_8khz(samples.mean(axis=1).astype(np.int16), rate_hz)


def write_wav(pcm: bytes) -> bytes:
    """A WAV around mono s16le at 8 kHz."""
    body = io.BytesIO()
    with wave.open(body, "wb") as sink:
        sink.setnchannels(1)
        sink.setsampwidth(2)
        sink.setframerate(RATE_HZ)
        sink.writeframes(pcm)
    return body.getvalue()


def to_8khz(samples: Samples, rate_hz: int) -> Samples:
    """The same sound at 8 kHz, cut at 4 kHz, by dropping or adding bins of its spectrum."""
    if rate_hz == RATE_HZ or not len(samples):
        return samples
    length = max(1, round(len(samples) * RATE_HZ / rate_hz))
    spectrum = np.fft.rfft(samples.astype(np.float64))
    bins = length // 2 + 1
    fitted = np.zeros(bins, dtype=np.complex128)
    kept = min(bins, len(spectrum))
    fitted[:kept] = spectrum[:kept]
    sound = np.fft.irfft(fitted, length) * (length / len(samples))
    return np.asarray(np.clip(np.rint(sound), -32768, 32767), dtype=np.int16)
