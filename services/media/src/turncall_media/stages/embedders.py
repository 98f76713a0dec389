"""What a vendor's ``embed.py`` builds: texts become vectors, which are near to each other where they mean the same."""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""One row for each text."""

MOST_DIMENSIONS: Final = 4000
"""As many as the control plane's database can compare quickly."""


class EmbedderFailed(Exception):
    """A vendor gave no vectors. ``is_final``: it refused the key or the request, so asking again does not help."""

    def __init__(self, vendor: str, why: str, *, is_final: bool) -> None:
        super().__init__(f"{vendor}: {why}")
        self.is_final = is_final


class Embedder(Protocol):
    """One vendor's model, which takes ``batch`` texts at once."""

    model: str
    batch: int

    async def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """The vectors of the texts, and how many tokens that took. Raises `EmbedderFailed`."""
        ...

    async def close(self) -> None:
        """Lets go of what it holds."""
        ...


def packed(vectors: Vectors) -> list[bytes]:
    """Each vector as it travels: little-endian float32."""
    return [row.astype("<f4").tobytes() for row in vectors]
