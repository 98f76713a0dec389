"""Answering questions: by REST, and to workers whose callers wait."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import Histogram

from turncall_bus.bus import BusError
from turncall_control.calls import plans
from turncall_control.knowledge import search
from turncall_control.knowledge.search import Base, Connection, Vectors
from turncall_control.plane import Plane
from turncall_proto import subjects
from turncall_proto.agent import VendorRef
from turncall_proto.codec import MalformedMessage, TooLarge, decode, encode
from turncall_proto.ids import ProjectId
from turncall_proto.knowledge import (
    EMBED_ON_CALL_S,
    EmbedAnswered,
    EmbedAsked,
    KnowledgeAnswered,
    KnowledgeAsked,
    KnowledgeWanted,
    Passage,
    Source,
)
from turncall_runtime import logs

BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

log = logs.logger(__name__)


Lend = Callable[[], AbstractAsyncContextManager[Connection]]


async def found(
    plane: Plane,
    lend: Lend,
    project_id: ProjectId,
    question: str,
    sources: Sequence[Source],
    embed_within_s: float,
) -> tuple[tuple[Passage, ...], str]:
    """The passages that answer a question, and why only words were looked for where that is so.

    A connection is held while the database works, and not while an embedder does.
    """
    async with lend() as connection:
        bases = await search.bases(connection, project_id, sources)
    vectors, detail = await _vectors(plane, project_id, question, bases, embed_within_s)
    async with lend() as connection:
        return await search.search(connection, project_id, bases, question, vectors), detail


async def _vectors(
    plane: Plane, project_id: ProjectId, question: str, bases: Sequence[Base], within_s: float
) -> tuple[Vectors, str]:
    """The question as each embedder of the bases has it. Whoever does not answer is done without."""
    embedders = {search.told_apart(embedder): embedder for base in bases for embedder in base.embedders}
    if not embedders:
        return {}, ""
    wallet = await plane.wallets.open(project_id)

    async def ask(embedder: VendorRef) -> EmbedAnswered:
        asked = EmbedAsked(
            project_id=project_id,
            embedder=embedder,
            texts=(question,),
            deadline=datetime.now(UTC) + timedelta(seconds=within_s),
            **plans.sealed_keys(plane, project_id, wallet, (embedder,)),
        )
        try:
            return decode(await plane.bus.ask(subjects.EMBED, encode(asked), timeout_s=within_s), EmbedAnswered)
        except (BusError, MalformedMessage) as error:
            return EmbedAnswered(detail=f"{embedder.vendor}: nobody made a vector of the question ({error})")

    answers = await asyncio.gather(*(ask(embedder) for embedder in embedders.values()))
    vectors = {key: answer.vectors[0] for key, answer in zip(embedders, answers, strict=True) if answer.vectors}
    return vectors, "; ".join(answer.detail for answer in answers if answer.detail)


class Answers:
    """Serves the act ``knowledge``."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._took = Histogram(
            "turncall_knowledge_seconds",
            "From a worker's question to the passages that answer it.",
            registry=plane.metrics,
            buckets=BUCKETS,
        )

    async def answer(self, data: bytes) -> bytes:
        """The passages, or what keeps us from any. Raises what the database raises: then nobody answers."""
        asked = decode(data, KnowledgeAsked | KnowledgeWanted)  # type: ignore[arg-type]
        left_s = (asked.deadline - datetime.now(UTC)).total_seconds()
        if left_s <= 0:
            return encode(KnowledgeAnswered(detail="asked too late"))
        began_s = time.monotonic()
        pool = self._plane.database.pool
        async with asyncio.timeout(left_s):
            if isinstance(asked, KnowledgeWanted):
                async with pool.connection() as connection:
                    passages, detail = await search.whole(connection, asked.project_id, asked.at_most)
            else:
                within_s = min(left_s, EMBED_ON_CALL_S)
                passages, detail = await found(
                    self._plane, pool.connection, asked.project_id, asked.question, asked.sources, within_s
                )
        self._took.observe(time.monotonic() - began_s)
        if detail:
            log.warning("knowledge.partial", project_id=asked.project_id, why=detail)
        try:
            return encode(KnowledgeAnswered(passages=passages, detail=detail))
        except TooLarge:
            return encode(KnowledgeAnswered(detail="it is too much for one message"))
