"""A document is read, cut into passages, and these are made vectors; what comes of it goes through the object store."""

import asyncio
from hashlib import sha256
from typing import Final
from urllib.parse import urljoin

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from turncall_blobs import NoSuchBlob
from turncall_blobs.keys import cut
from turncall_egress import EgressAnswer, EgressClient, EgressError, Refused, TooLarge, Wall
from turncall_media.documents import cutting, reading
from turncall_media.documents.blocks import Unreadable
from turncall_media.documents.recognition import CONTENT_TYPES
from turncall_media.jobs.shape import Desk, JobPostponed, JobRefused
from turncall_media.stages.embedders import EmbedderFailed, packed
from turncall_media.text.embedding import Wanted, embedded, opened
from turncall_media.text.tally import Tally
from turncall_proto.agent import VendorRef
from turncall_proto.job import IngestDone, IngestJob
from turncall_proto.knowledge import CutDocument, CutPassage

LARGEST_PAGE: Final = 10 * 1024 * 1024
PAGE_WITHIN_S: Final = 30.0
MOST_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class _Original(Struct, frozen=True, kw_only=True):
    data: bytes
    content_type: str


async def run(job: IngestJob, desk: Desk, tally: Tally) -> IngestDone:
    """Raises `JobRefused` with one of the reasons of `Unreadable`, or ``embedder``, and `JobPostponed`. A repeat writes
    the same things to the same place."""
    original = await (_fetched(job, desk) if job.url else _stored(job, desk))
    try:
        text = await reading.read(original.data, job.name, original.content_type)
    except Unreadable as error:
        raise JobRefused(str(error), error.reason) from error
    passages = await asyncio.to_thread(cutting.passages, job.name, text.blocks, job.cutting)
    dimensions = 0
    if job.embedder is not None:
        passages, dimensions = await _embedded(job, job.embedder, passages, desk, tally)
    body = await asyncio.to_thread(msgspec.msgpack.encode, CutDocument(passages=passages))
    key = cut(job.project_id, job.base_id, job.document_id, job.job_id)
    await desk.blobs.put(key, body, "application/msgpack")
    return IngestDone(
        job_id=job.job_id,
        project_id=job.project_id,
        at=desk.now(),
        used=tally.used,
        key=key,
        sha256=sha256(body).hexdigest(),
        passages=len(passages),
        characters=sum(len(block.text) for block in text.blocks),
        dimensions=dimensions,
        embedder=job.embedder,
        size_bytes=len(original.data),
        content_type=CONTENT_TYPES[text.format],
    )


async def _stored(job: IngestJob, desk: Desk) -> _Original:
    try:
        return _Original(data=await desk.blobs.read(job.key), content_type=job.content_type)
    except NoSuchBlob as error:
        raise JobRefused("The file is gone", "not_reached") from error


async def _fetched(job: IngestJob, desk: Desk) -> _Original:
    """What the page answers, over a few redirects, each of which is looked at like the first address."""
    url = job.url
    async with EgressClient(Wall(desk.egress_allow)) as egress:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await _asked(egress, url)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                break
            url = urljoin(url, answer.headers["location"])
    if answer.status >= 500 or answer.status == 429:
        raise JobPostponed(f"The page answers with status {answer.status}")
    if not 200 <= answer.status < 300:
        raise JobRefused(f"The page answers with status {answer.status}", "not_reached")
    return _Original(data=answer.body, content_type=answer.headers.get("content-type", ""))


async def _asked(egress: EgressClient, url: str) -> EgressAnswer:
    try:
        return await egress.request("GET", url, timeout_s=PAGE_WITHIN_S, max_bytes=LARGEST_PAGE)
    except Refused as error:
        raise JobRefused(f"The address is not allowed: {error}", "not_reached") from error
    except TooLarge as error:
        raise JobRefused(str(error), "too_large") from error
    except EgressError as error:
        raise JobPostponed(str(error)) from error


async def _embedded(
    job: IngestJob, ref: VendorRef, passages: tuple[CutPassage, ...], desk: Desk, tally: Tally
) -> tuple[tuple[CutPassage, ...], int]:
    """The same passages with their vectors, and how long these are."""
    wanted = Wanted(ref=ref, plan=job, open_secret=desk.open_secret, egress_allow=desk.egress_allow)
    texts = [f"{passage.context}\n{passage.text}".strip() for passage in passages]
    try:
        embedder = await opened(wanted)
        try:
            vectors = await embedded(embedder, ref.vendor, texts, tally)
        finally:
            await embedder.close()
    except EmbedderFailed as error:
        if error.is_final:
            raise JobRefused(str(error), "embedder") from error
        raise JobPostponed(str(error)) from error
    if not np.isfinite(vectors).all():
        raise JobRefused(f"{ref.vendor}: its vectors are no numbers", "embedder")
    whole = zip(passages, packed(vectors), strict=True)
    return tuple(replace(passage, vector=vector) for passage, vector in whole), vectors.shape[1]
