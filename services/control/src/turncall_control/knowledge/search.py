"""Finding the passages of a base that answer a question: by meaning and by words, side by side.

Both look at one base alone, and at all of it. By meaning every vector of the base is compared, so that a small base
beside a large one loses nothing, as it would behind an index that is shared by all. By words the index is asked for
words that begin with the number of the base. A word counts the more, the fewer passages of the base hold it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from turncall_control.knowledge.fusion import fused
from turncall_control.knowledge.ingesting import vector_text
from turncall_control.knowledge.model import DICTIONARIES, Language
from turncall_proto import ids
from turncall_proto.agent import VendorRef
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import Citation, Passage, Source

POOL: Final = 20
"""What each way finds at least before both are put together."""

Connection = AsyncConnection[TupleRow]
Key = tuple[UUID, int]

_BASES: Final = """
    select b.id, b.number, b.language, e.embedder
    from knowledge_bases b left join lateral (
        select json_agg(distinct d.embedder::jsonb) as embedder from knowledge_documents d
        where d.base_id = b.id and d.state = 'ready' and d.embedder is not null
    ) e on true
    where b.project_id = %(project)s and b.id = any(%(bases)s)
"""
_BY_MEANING: Final = """
    with question as materialized (select %(vector)s::text::halfvec as vector)
    select p.document_id, p.ordinal, 1 - (p.embedding <=> question.vector) as similarity
    from question, knowledge_passages p join knowledge_documents d on d.id = p.document_id
    where p.base_id = %(base)s and p.project_id = %(project)s and d.embedder = %(embedder)s::jsonb
        and d.dimensions = %(dimensions)s
    order by p.embedding <=> question.vector
    limit %(pool)s
"""
_BY_WORDS: Final = """
    with asked as (
        select %(number)s::text || ':' || w.lexeme as word
        from unnest(to_tsvector(%(dictionary)s::regconfig, %(question)s)) w
    ), hits as (
        select p.document_id, p.ordinal, a.word
        from asked a join knowledge_passages p on p.words @> array[a.word]
        where p.base_id = %(base)s and p.project_id = %(project)s
    ), size as (
        select coalesce(sum(passages), 0) as passages from knowledge_documents where base_id = %(base)s
    ), weights as (
        select word, ln(1 + (greatest(size.passages, count(*)) - count(*) + 0.5) / (count(*) + 0.5)) as weight
        from hits, size group by word, size.passages
    )
    select document_id, ordinal, sum(weight) as score from hits join weights using (word)
    group by document_id, ordinal order by score desc, document_id, ordinal limit %(pool)s
"""
_TEXTS: Final = """
    select p.document_id, p.ordinal, p.base_id, d.name, p.heading, p.page, p.text
    from unnest(%(documents)s::uuid[], %(ordinals)s::int[]) as wanted (document_id, ordinal)
    join knowledge_passages p using (document_id, ordinal) join knowledge_documents d on d.id = p.document_id
    where p.project_id = %(project)s
"""


class Base(Struct, frozen=True, kw_only=True):
    """A base that is searched. ``embedders`` have made vectors of some of its documents: usually one, and two while
    it is read anew."""

    source: Source
    key: UUID
    number: int
    dictionary: str
    embedders: tuple[VendorRef, ...]


Vectors = Mapping[bytes, bytes]
"""Vectors of the question, by the embedder that has made them (`told_apart`)."""


def told_apart(embedder: VendorRef) -> bytes:
    """What is the same for embedders whose vectors can be compared."""
    return msgspec.json.encode(embedder, order="deterministic")


async def bases(connection: Connection, project_id: ProjectId, sources: Sequence[Source]) -> list[Base]:
    """Those of the sources that there are in this project."""
    by_key = {ids.parsed(ids.KNOWLEDGE_BASE, source.base_id): source for source in sources}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_BASES, {"project": ids.parsed(ids.PROJECT, project_id), "bases": list(by_key)})
        rows = {row["id"]: row for row in await cursor.fetchall()}
    return [
        Base(
            source=source,
            key=key,
            number=rows[key]["number"],
            dictionary=DICTIONARIES[Language(rows[key]["language"])],
            embedders=msgspec.convert(rows[key]["embedder"] or [], tuple[VendorRef, ...]),
        )
        for key, source in by_key.items()
        if key in rows
    ]


async def search(
    connection: Connection, project_id: ProjectId, found: Sequence[Base], question: str, vectors: Vectors
) -> tuple[Passage, ...]:
    """The passages that answer the question best, those of all bases ranked together."""
    rankings: list[list[Key]] = []
    similarities: dict[Key, float] = {}
    limit = 0
    for base in found:
        near = await by_meaning(connection, project_id, base, vectors)
        worded = await by_words(connection, project_id, base, question)
        shares = set(worded)
        similarities |= near
        rankings.append([key for key in near if key in shares or near[key] >= base.source.min_similarity])
        rankings.append(worded)
        best = fused(*rankings[-2:])[: base.source.top_k]
        rankings[-2:] = [[key for key in ranking if key in best] for ranking in rankings[-2:]]
        limit = max(limit, base.source.top_k)
    return await _texts(connection, project_id, fused(*rankings)[:limit], similarities)


async def by_meaning(connection: Connection, project_id: ProjectId, base: Base, vectors: Vectors) -> dict[Key, float]:
    """The passages that mean nearly the same, the nearest first."""
    near: list[tuple[float, Key]] = []
    for embedder in base.embedders:
        vector = vectors.get(told_apart(embedder))
        if vector is None:
            continue
        cursor = await connection.execute(
            _BY_MEANING,
            _about(project_id, base)
            | {
                "vector": vector_text(vector),
                "dimensions": len(vector) // 4,
                "embedder": msgspec.json.encode(embedder).decode(),
            },
        )
        near += [(similarity, (document, ordinal)) for document, ordinal, similarity in await cursor.fetchall()]
    return {key: similarity for similarity, key in sorted(near, key=lambda one: -one[0])}


async def by_words(connection: Connection, project_id: ProjectId, base: Base, question: str) -> list[Key]:
    """The passages that share words, the rarest words first."""
    values = {"number": base.number, "dictionary": base.dictionary, "question": question}
    cursor = await connection.execute(_BY_WORDS, _about(project_id, base) | values)
    return [(document, ordinal) for document, ordinal, _ in await cursor.fetchall()]


def _about(project_id: ProjectId, base: Base) -> dict[str, Any]:
    return {
        "project": ids.parsed(ids.PROJECT, project_id),
        "base": base.key,
        "pool": max(POOL, 4 * base.source.top_k),
    }


async def _texts(
    connection: Connection, project_id: ProjectId, wanted: Sequence[Key], similarities: Mapping[Key, float]
) -> tuple[Passage, ...]:
    cursor = await connection.execute(
        _TEXTS,
        {
            "documents": [document for document, _ in wanted],
            "ordinals": [ordinal for _, ordinal in wanted],
            "project": ids.parsed(ids.PROJECT, project_id),
        },
    )
    found = {(document, ordinal): rest for document, ordinal, *rest in await cursor.fetchall()}
    return tuple(_passage(key, found[key], similarities.get(key)) for key in wanted if key in found)


def _passage(key: Key, rest: Sequence[Any], similarity: float | None) -> Passage:
    base, name, heading, page, words = rest
    document, ordinal = key
    return Passage(
        citation=Citation(
            base_id=KnowledgeBaseId(ids.written(ids.KNOWLEDGE_BASE, base)),
            document_id=DocumentId(ids.written(ids.DOCUMENT, document)),
            document=name,
            passage=ordinal,
            heading=heading,
            page=page,
            similarity=None if similarity is None else round(similarity, 4),
        ),
        text=words,
    )


async def whole(
    connection: Connection, project_id: ProjectId, at_most: Mapping[KnowledgeBaseId, int]
) -> tuple[tuple[Passage, ...], str]:
    """All passages of the bases that hold no more characters than allowed, in the order of their documents; and which
    ones hold more. What a passage repeats of the one before is in it as well."""
    project = ids.parsed(ids.PROJECT, project_id)
    wanted = {ids.parsed(ids.KNOWLEDGE_BASE, base_id): most for base_id, most in at_most.items()}
    cursor = await connection.execute(
        "select b.id, b.name, coalesce(sum(length(p.text)), 0) from knowledge_bases b left join knowledge_passages p"
        " on p.base_id = b.id where b.project_id = %s and b.id = any(%s) group by b.id",
        (project, list(wanted)),
    )
    sizes = {base: (name, size) for base, name, size in await cursor.fetchall()}
    small = [base for base, (_, size) in sizes.items() if size <= wanted[base]]
    large = [f"{name} holds {size} characters" for base, (name, size) in sizes.items() if size > wanted[base]]
    cursor = await connection.execute(
        "select p.document_id, p.ordinal, p.base_id, d.name, p.heading, p.page, p.text from knowledge_passages p"
        " join knowledge_documents d on d.id = p.document_id where p.project_id = %s and p.base_id = any(%s)"
        " order by p.base_id, p.document_id, p.ordinal",
        (project, small),
    )
    rows = await cursor.fetchall()
    return tuple(_passage((document, ordinal), rest, None) for document, ordinal, *rest in rows), "; ".join(large)
