"""How sound is written everywhere in this package: mono s16le at 8 kHz, from the wire to the vendors and back.

Carriers speak 8 kHz; every other rate on the way costs a resampler, and a resampler holds audio back.
"""

from typing import Final

RATE_HZ: Final = 8000
SAMPLES_PER_MS: Final = RATE_HZ // 1000
BYTES_PER_MS: Final = 2 * SAMPLES_PER_MS
