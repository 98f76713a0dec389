"""Static embeddings: the mean of a text's word vectors, from a model that lies in a wheel. No key, no network.

The weights are WordLlama's (``l2_supercat``, 256 dimensions, English first of all). Its own code is not imported: it
sets up logging for the whole process, and all that is needed of it is a mean.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from turncall_media.errors import VendorUnusable
from turncall_media.stages.embedders import Vectors
from turncall_media.stages.kinds import BuildContext, Capabilities

CAPABILITIES = Capabilities(needs_secret=False)

_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_TENSOR: Final = "embedding.weight"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """There is one model, and nothing to choose."""


def build(options: Options, context: BuildContext) -> "StaticEmbedder":
    """The model. Raises `VendorUnusable` where the wheel is not installed."""
    return StaticEmbedder(*_model())


def warm() -> None:
    """Loads the model: 0.2 s, 40 MB."""
    _model()


class StaticEmbedder:
    """A text's vector is the mean of those of its tokens, at length 1."""

    model = "l2_supercat_256"
    batch = 512

    def __init__(self, weights: Vectors, tokenizer: Tokenizer) -> None:
        self._weights = weights
        self._tokenizer = tokenizer

    async def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """See `Embedder`; in a thread, since a batch may take 0.1 s."""
        return await asyncio.to_thread(self._embed, texts)

    async def close(self) -> None:
        """Nothing is held."""

    def _embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        vectors = np.zeros((len(texts), self._weights.shape[1]), dtype=np.float32)
        for row, tokens in zip(vectors, encoded, strict=True):
            if tokens.ids:
                row[:] = self._weights[tokens.ids].mean(axis=0)
                row /= np.linalg.norm(row) or 1
        return vectors, sum(len(tokens.ids) for tokens in encoded)


@cache
def _model() -> tuple[Vectors, Tokenizer]:
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise VendorUnusable("vendor 'local' is not installed on this worker: install turncall-media[local]")
    folder = Path(spec.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return load_file(folder / _WEIGHTS)[_TENSOR].astype(np.float32), tokenizer
