"""Vectors of texts: an embedder by its vendor's name, and the questions that control has made vectors of."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, cast

import msgspec
import numpy as np
from msgspec import Struct

from turncall_media import registry
from turncall_media.audio.sound import TELEPHONE
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.pipelines.vendors import Sealed, key_for, options_of
from turncall_media.stages.embedders import Embedder, EmbedderFailed, Vectors, packed
from turncall_media.stages.kinds import BuildContext
from turncall_media.text.tally import Tally
from turncall_proto.agent import VendorRef
from turncall_proto.codec import decode, encode
from turncall_proto.job import ModelUse
from turncall_proto.knowledge import EmbedAnswered, EmbedAsked

KEPT: Final = 64
"""Embedders that stay open for the next question, whoever asked for them last."""


class Wanted(Struct, frozen=True, kw_only=True):
    """An embedder that may be asked. ``plan`` holds its key, sealed."""

    ref: VendorRef
    plan: Sealed
    open_secret: Callable[[str], str]
    egress_allow: tuple[str, ...]


async def opened(wanted: Wanted) -> Embedder:
    """The vendor's model, for its owner to close. Raises `EmbedderFailed` when it cannot be built."""
    ref = wanted.ref
    try:
        await asyncio.to_thread(registry.warm, "embed", ref.vendor)
        module = registry.load("embed", ref.vendor)
        context = BuildContext(
            rate_hz=TELEPHONE.rate_hz,
            language="",
            secret=key_for(ref, module.CAPABILITIES, wanted.plan, wanted.open_secret),
            egress_allow=wanted.egress_allow,
        )
        return cast(Embedder, module.build(options_of(module, "embed", ref), context))
    except (VendorUnusable, SecretUnusable) as error:
        raise EmbedderFailed(ref.vendor, str(error), is_final=True) from error


async def embedded(embedder: Embedder, vendor: str, texts: Sequence[str], tally: Tally) -> Vectors:
    """The vectors of many texts, batch by batch, and what they take. Raises `EmbedderFailed`."""
    found: list[Vectors] = []
    for start in range(0, len(texts), embedder.batch):
        vectors, tokens = await embedder.embed(texts[start : start + embedder.batch])
        tally.add(ModelUse(vendor=vendor, model=embedder.model, input_tokens=tokens))
        found.append(vectors)
    return np.concatenate(found)


class Embeddings:
    """Answers control's questions; connections to vendors stay open between them."""

    def __init__(
        self, open_secret: Callable[[str], str], egress_allow: tuple[str, ...], now: Callable[[], datetime]
    ) -> None:
        self._open_secret = open_secret
        self._egress_allow = egress_allow
        self._now = now
        self._open: OrderedDict[bytes, Embedder] = OrderedDict()

    async def answer(self, data: bytes) -> bytes:
        """Serves `EmbedAsked`; what keeps it from vectors is the answer."""
        asked = decode(data, EmbedAsked)
        left_s = (asked.deadline - self._now()).total_seconds()
        try:
            async with asyncio.timeout(left_s):
                embedder = await self._embedder(asked)
                vectors, _ = await embedder.embed(asked.texts)
        except TimeoutError:
            return encode(EmbedAnswered(detail=f"{asked.embedder.vendor} gave no vectors in time"))
        except EmbedderFailed as error:
            return encode(EmbedAnswered(detail=str(error)[:500]))
        return encode(EmbedAnswered(vectors=tuple(packed(vectors))))

    async def close(self) -> None:
        """Closes every connection."""
        while self._open:
            _, embedder = self._open.popitem()
            await embedder.close()

    async def _embedder(self, asked: EmbedAsked) -> Embedder:
        wanted = Wanted(ref=asked.embedder, plan=asked, open_secret=self._open_secret, egress_allow=self._egress_allow)
        key = self._key(asked)
        if key not in self._open:
            self._open[key] = await opened(wanted)
            if len(self._open) > KEPT:
                _, oldest = self._open.popitem(last=False)
                await oldest.close()
        self._open.move_to_end(key)
        return self._open[key]

    def _key(self, asked: EmbedAsked) -> bytes:
        """One for each project, model and key: a changed key is another one."""
        sealed = asked.secrets.get(asked.embedder.vendor)
        secret = "" if sealed is None else self._open_secret(sealed)
        return sha256(msgspec.json.encode([asked.project_id, asked.embedder, asked.own_vendors, secret])).digest()
