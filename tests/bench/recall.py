"""``make recall``: how often the passage that answers a question is found, with and without each part of the search.

The questions are what callers ask, in words that are mostly not those of the documents; both were written for this. The
documents are read, cut, embedded and searched by the code that serves calls, over a real Postgres. Then a small base is
put beside a large one, and searched as we do it and as an index over both would.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

import numpy as np
import psycopg
import yaml
from msgspec import Struct
from psycopg import AsyncConnection

from turncall_control.knowledge import ingesting, search
from turncall_control.knowledge.fusion import fused
from turncall_control.knowledge.model import DICTIONARIES, Language
from turncall_control.migrations.upgrade import upgrade
from turncall_devstack import DevStack, create_database
from turncall_media.documents import cutting, reading
from turncall_media.providers.local import embed
from turncall_media.stages.embedders import packed
from turncall_proto import ids
from turncall_proto.agent import VendorRef
from turncall_proto.ids import KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import CutDocument, Cutting, Source
from turncall_runtime.secret import Secret

FOLDER: Final = Path(__file__).parent / "recall"
EMBEDDER: Final = VendorRef(vendor="local")
TOP: Final = (1, 3, 5)
SMALL, DIMENSIONS, ASKED = 200, 256, 100


class Shelf(Struct, frozen=True, kw_only=True):
    """A base of the three documents, read in one way."""

    project: ProjectId
    base: search.Base
    headings: dict[search.Key, tuple[str, str]]
    """The document and the last heading of each passage."""


class Question(Struct, frozen=True, kw_only=True):
    """What is asked, and where the answer stands."""

    text: str
    document: str
    heading: str
    vector: bytes


class Database:
    """The tables, filled without the API: no webhook, job or key has a part in what is measured."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection
        self.project = ids.mint(ids.PROJECT)

    async def prepare(self) -> None:
        await self.connection.execute(
            "insert into projects (id, name, settings) values (%s, 'Recall', '{}')",
            (ids.parsed(ids.PROJECT, self.project),),
        )

    async def shelf(self, name: str, documents: dict[str, CutDocument], dimensions: int = DIMENSIONS) -> Shelf:
        base_id = KnowledgeBaseId(ids.mint(ids.KNOWLEDGE_BASE))
        key, project = ids.parsed(ids.KNOWLEDGE_BASE, base_id), ids.parsed(ids.PROJECT, self.project)
        cursor = await self.connection.execute(
            "insert into knowledge_bases (id, project_id, name, language, cutting) values (%s, %s, %s, 'en', '{}')"
            " returning number",
            (key, project, name),
        )
        row = await cursor.fetchone()
        assert row is not None
        headings: dict[search.Key, tuple[str, str]] = {}
        for title, whole in documents.items():
            document = await self._document(key, project, title, whole, row[0], dimensions)
            for ordinal, passage in enumerate(whole.passages):
                headings[document, ordinal] = (title, passage.heading.rpartition(cutting.BETWEEN_HEADINGS)[2])
        base = search.Base(
            source=Source(base_id=base_id, top_k=max(TOP)),
            key=key,
            number=row[0],
            dictionary=DICTIONARIES[Language.EN],
            embedders=(EMBEDDER,),
        )
        return Shelf(project=ProjectId(self.project), base=base, headings=headings)

    async def _document(
        self, base: UUID, project: UUID, title: str, whole: CutDocument, number: int, dimensions: int
    ) -> UUID:
        document = ids.parsed(ids.DOCUMENT, ids.mint(ids.DOCUMENT))
        await self.connection.execute(
            "insert into knowledge_documents (id, project_id, base_id, name, state, passages, embedder, dimensions)"
            " values (%s, %s, %s, %s, 'ready', %s, %s, %s)",
            (document, project, base, title, len(whole.passages), '{"vendor": "local", "options": {}}', dimensions),
        )
        header = {"document": document, "project": project, "base": base, "number": number, "dictionary": "english"}
        async with self.connection.cursor() as cursor:
            values = [header | ingesting.values(ordinal, one) for ordinal, one in enumerate(whole.passages)]
            await cursor.executemany(ingesting.INSERT, values)
        return document


async def cut(how: Cutting) -> dict[str, CutDocument]:
    """The three documents, read, cut and embedded."""
    embedder = embed.build(embed.Options(), None)  # type: ignore[arg-type]  # it looks at neither
    found: dict[str, CutDocument] = {}
    for path in sorted(FOLDER.glob("*.md")):
        text = await reading.read(path.read_bytes(), path.name, "")
        passages = cutting.passages(path.name, text.blocks, how)
        vectors, _ = await embedder.embed([f"{one.context}\n{one.text}".strip() for one in passages])
        found[path.stem] = CutDocument(
            passages=tuple(
                type(one)(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "vector": vector})
                for one, vector in zip(passages, packed(vectors), strict=True)
            )
        )
    return found


async def asked() -> list[Question]:
    """The questions with their vectors."""
    embedder = embed.build(embed.Options(), None)  # type: ignore[arg-type]
    told = yaml.safe_load((FOLDER / "questions.yaml").read_text())
    flat = [(document, text, heading) for document, pairs in told.items() for text, heading in pairs]
    vectors, _ = await embedder.embed([text for _, text, _ in flat])
    return [
        Question(text=text, document=document, heading=heading, vector=vector)
        for (document, text, heading), vector in zip(flat, packed(vectors), strict=True)
    ]


Rank = Callable[[Shelf, Question], Awaitable[Sequence[search.Key]]]


def ways(connection: AsyncConnection[Any]) -> dict[str, Rank]:
    """The search, and the search without one of its halves."""

    async def meaning(shelf: Shelf, question: Question) -> Sequence[search.Key]:
        vectors = {search.told_apart(EMBEDDER): question.vector}
        return list(await search.by_meaning(connection, shelf.project, shelf.base, vectors))

    async def words(shelf: Shelf, question: Question) -> Sequence[search.Key]:
        return await search.by_words(connection, shelf.project, shelf.base, question.text)

    async def both(shelf: Shelf, question: Question) -> Sequence[search.Key]:
        return fused(await meaning(shelf, question), await words(shelf, question))

    return {"meaning and words": both, "meaning alone": meaning, "words alone": words}


async def measure(database: Database, questions: list[Question]) -> list[str]:
    lines = ["| Passages | Found by | first | in three | in five | mean reciprocal rank |", "|---|---|---|---|---|---|"]
    for named, how in (("with headings", Cutting()), ("without headings", Cutting(context="none"))):
        shelf = await database.shelf(named, await cut(how))
        for way, rank in ways(database.connection).items():
            places = []
            for question in questions:
                wanted = (question.document, question.heading)
                ranking = [shelf.headings[key] for key in await rank(shelf, question)]
                places.append(ranking.index(wanted) + 1 if wanted in ranking else None)
            hits = [sum(place is not None and place <= top for place in places) / len(places) for top in TOP]
            score = sum(1 / place for place in places if place is not None) / len(places)
            lines.append(f"| {named} | {way} | {' | '.join(f'{hit:.0%}' for hit in hits)} | {score:.2f} |")
    return lines


async def beside(database: Database, large: int) -> list[str]:
    """A small base beside a large one of the same table: what is found of the five nearest, and how long that takes."""
    random = np.random.default_rng(7)
    topics = random.normal(size=(50, DIMENSIONS)).astype(np.float32)

    def vectors(count: int) -> Any:
        return topics[random.integers(0, len(topics), count)] + 0.6 * random.normal(size=(count, DIMENSIONS))

    small, many = vectors(SMALL).astype(np.float32), vectors(large).astype(np.float32)
    questions = vectors(ASKED).astype(np.float32)
    await _fill(database, "small", small)
    await _fill(database, "large", many)
    lines = [
        f"| {SMALL} passages beside {large:,} | of the five nearest found | median ms |",
        "|---|---|---|",
        await _beside_row(database, "every vector of the base (as served)", questions, small, ()),
    ]
    await database.connection.execute(
        "create index recall_hnsw on recall_vectors using hnsw ((embedding::halfvec(256)) halfvec_cosine_ops)"
    )
    await database.connection.execute("drop index recall_base")
    for name, settings in (
        ("HNSW over all, filtered", ("set hnsw.iterative_scan = off",)),
        ("HNSW over all, iterative scan", ("set hnsw.iterative_scan = strict_order",)),
    ):
        lines.append(await _beside_row(database, name, questions, small, settings))
    return lines


async def _fill(database: Database, base: str, vectors: Any) -> None:
    connection = database.connection
    await connection.execute("create table if not exists recall_vectors (base text, n int, embedding halfvec)")
    await connection.execute("alter table recall_vectors alter column embedding set storage plain")
    await connection.execute("create index if not exists recall_base on recall_vectors (base)")
    async with connection.cursor().copy("copy recall_vectors from stdin") as copy:
        for number, vector in enumerate(vectors):
            await copy.write_row((base, number, ingesting.vector_text(vector.tobytes())))
    await connection.execute("analyze recall_vectors")


async def _beside_row(database: Database, name: str, questions: Any, small: Any, settings: Sequence[str]) -> str:
    unit = small / np.linalg.norm(small, axis=1, keepdims=True)
    found, took = [], []
    for setting in settings:
        await database.connection.execute(setting)  # type: ignore[arg-type]  # of this file
    for question in questions:
        nearest = set(np.argsort(-(unit @ question))[:5].tolist())
        began_s = time.perf_counter()
        cursor = await database.connection.execute(
            "with question as materialized (select %s::text::halfvec(256) as vector)"
            " select n from recall_vectors where base = 'small'"
            " order by embedding::halfvec(256) <=> (select vector from question) limit 5",
            (ingesting.vector_text(question.tobytes()),),
        )
        got = {number for (number,) in await cursor.fetchall()}
        took.append((time.perf_counter() - began_s) * 1000)
        found.append(len(nearest & got) / 5)
    return f"| {name} | {sum(found) / len(found):.0%} | {median(took):.1f} |"


async def run(large: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with DevStack(Path(folder), durable=False) as servers:
            urls = await create_database(servers.urls.database, "recall")
            await asyncio.to_thread(upgrade, Secret(urls.migrate))
            async with await psycopg.AsyncConnection.connect(urls.migrate, autocommit=True) as owner:
                for table in ("projects", "knowledge_bases", "knowledge_documents", "knowledge_passages"):
                    await owner.execute(f"alter table {table} no force row level security")  # type: ignore[arg-type]
                database = Database(owner)
                await database.prepare()
                questions = await asked()
                told = [
                    f"{len(questions)} questions",
                    "",
                    *await measure(database, questions),
                    "",
                    *await beside(database, large),
                ]
    sys.stdout.write("\n".join(told) + "\n")


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=20_000, help="passages of the large base (20000)")
    asyncio.run(run(parser.parse_args().large))


if __name__ == "__main__":
    main()
