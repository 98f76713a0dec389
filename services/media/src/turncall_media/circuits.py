"""Which vendors are out of order, as far as the calls of this worker know."""

from typing import Literal

from turncall_runtime import circuits

Circuit = tuple[Literal["stt", "llm", "tts", "speech", "avatar"], str, tuple[str, ...]]
"""A vendor's capability on one server: kind, vendor, and what its options name as a server of the user's own."""

Circuits = circuits.Circuits[Circuit]
