"""/v1/knowledge-bases: bases, and what they say to a question."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_blobs import BlobError, keys
from turncall_control.auth import IN_PROJECT, Caller, Permission, in_path, needs
from turncall_control.db.engine import bare, in_project
from turncall_control.duty import repeated
from turncall_control.errors import Conflict, Invalid, Unavailable
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.jobs.lane import Lane
from turncall_control.knowledge import answering, document_routes, ingesting, repository
from turncall_control.knowledge.answering import Answers
from turncall_control.knowledge.ingesting import KIND
from turncall_control.knowledge.model import KnowledgeBaseRow
from turncall_control.knowledge.schemas import (
    KnowledgeBaseChange,
    KnowledgeBaseNew,
    KnowledgeBaseView,
    Reindexing,
    SearchAnswer,
    SearchAsked,
)
from turncall_control.knowledge.search import Connection
from turncall_control.knowledge.views import base_view
from turncall_control.plane import Plane, Slice
from turncall_control.vendors.catalogue import Catalogue, faults_of
from turncall_proto import ids
from turncall_proto.agent import VendorRef
from turncall_proto.ids import KnowledgeBaseId
from turncall_proto.knowledge import EMBED_WITHIN_S, Source
from turncall_proto.subjects import CONTROL_QUEUE, act

GIVE_UP_EVERY_S: Final = 10.0
_BASE: Final = in_path("base_id", ids.KNOWLEDGE_BASE)
_READ, _WRITE = Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_WRITE


class BaseNameTaken(Conflict):
    """Names are unique among a project's knowledge bases."""

    name, title = "name-taken", "The name is taken"


class BaseInUse(Conflict):
    """An agent knows of the base, in its draft or its published version."""

    name, title = "knowledge-base-in-use", "The knowledge base is in use"


@post(
    "/v1/knowledge-bases",
    status_code=201,
    tags=["knowledge"],
    opt=needs(_WRITE, IN_PROJECT, fails=[BaseNameTaken], idempotent=True),
)
async def create_knowledge_base(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    data: JSONBody[KnowledgeBaseNew],
) -> KnowledgeBaseView:
    """Makes a base without documents."""
    _check(plane.vendors, data.embedder)
    row = KnowledgeBaseRow(
        id=KnowledgeBaseId(ids.mint(ids.KNOWLEDGE_BASE)),
        project_id=caller.project_id,
        name=data.name,
        description=data.description,
        language=data.language,
        embedder=data.embedder,
        cutting=data.cutting,
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        raise BaseNameTaken(f"there is a knowledge base {data.name!r} already") from error
    await session.refresh(row)
    return base_view(row, 0, 0)


@get("/v1/knowledge-bases", tags=["knowledge"], opt=needs(_READ, IN_PROJECT))
async def list_knowledge_bases(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    page: NamedDependency[PageAsked],
    name: Annotated[str | None, QueryParameter(max_length=120, description="Exactly this name.")] = None,
) -> Page[KnowledgeBaseView]:
    """The project's bases, newest first."""
    rows = await repository.page(session, caller.project_id, page, name)
    counts = await repository.counts(session, caller.project_id, [row.id for row in rows])
    return paged(rows, page, lambda row: base_view(row, *counts.get(row.id, (0, 0))), lambda row: (row.id,))


@get("/v1/knowledge-bases/{base_id:str}", tags=["knowledge"], opt=needs(_READ, _BASE))
async def get_knowledge_base(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], base_id: FromPath[str]
) -> KnowledgeBaseView:
    """One base."""
    return await _shown(session, await repository.get(session, caller.project_id, KnowledgeBaseId(base_id)))


@patch(
    "/v1/knowledge-bases/{base_id:str}",
    tags=["knowledge"],
    opt=needs(_WRITE, _BASE, fails=[BaseNameTaken]),
)
async def change_knowledge_base(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    data: JSONBody[KnowledgeBaseChange],
) -> KnowledgeBaseView:
    """Changes what is given. How documents are read holds from the next reading on; `reindex` has all of them read."""
    if data.embedder is not UNSET:
        _check(plane.vendors, data.embedder)
    row = await repository.get(session, caller.project_id, KnowledgeBaseId(base_id), is_locked=True)
    for field in data.__struct_fields__:
        value = getattr(data, field)
        if value is not UNSET:
            setattr(row, field, value)
    try:
        await session.flush()
    except IntegrityError as error:
        raise BaseNameTaken(f"there is a knowledge base {data.name!r} already") from error
    return await _shown(session, row)


@delete("/v1/knowledge-bases/{base_id:str}", tags=["knowledge"], opt=needs(_WRITE, _BASE, fails=[BaseInUse]))
async def delete_knowledge_base(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
) -> None:
    """Deletes a base with its documents, files, passages and vectors. 409 while an agent knows of it."""
    row = await repository.get(session, caller.project_id, KnowledgeBaseId(base_id), is_locked=True)
    agents = await repository.agents_with(session, row)
    if agents:
        raise BaseInUse(f"{agents} agents know of it; take it out of their drafts and published versions first")
    try:
        await plane.blobs.delete_prefix(keys.knowledge_base(caller.project_id, row.id))
    except BlobError as error:
        raise Unavailable("the object store cannot be reached") from error
    await repository.delete_documents(session, await repository.all_documents(session, row))
    await session.delete(row)


@post(
    "/v1/knowledge-bases/{base_id:str}/reindex",
    status_code=202,
    tags=["knowledge"],
    opt=needs(_WRITE, _BASE, idempotent=True),
)
async def reindex_knowledge_base(
    session: NamedDependency[AsyncSession], caller: NamedDependency[Caller], base_id: FromPath[str]
) -> Reindexing:
    """Has every document read anew, pages from their addresses. Each is found as it was until it has been read."""
    base = await repository.get(session, caller.project_id, KnowledgeBaseId(base_id))
    rows = await repository.all_documents(session, base)
    for row in rows:
        await repository.order_reading(session, row)
    return Reindexing(documents=len(rows))


@post(
    "/v1/knowledge-bases/{base_id:str}/search",
    status_code=200,
    tags=["knowledge"],
    opt=needs(_READ, _BASE, audited=False),
)
async def search_knowledge_base(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    data: JSONBody[SearchAsked],
) -> SearchAnswer:
    """The passages that an agent would get for this question: by meaning and by words. By words alone while the
    embedder does not answer; `detail` says so."""

    @asynccontextmanager
    async def lend() -> AsyncIterator[Connection]:
        async with in_project(plane.database, caller.project_id) as session:
            yield await bare(session)

    async with in_project(plane.database, caller.project_id) as session:
        base = await repository.get(session, caller.project_id, KnowledgeBaseId(base_id))
    source = Source(base_id=base.id, top_k=data.top_k, min_similarity=data.min_similarity)
    passages, detail = await answering.found(plane, lend, caller.project_id, data.question, (source,), EMBED_WITHIN_S)
    return SearchAnswer(passages=passages, detail=detail)


async def _shown(session: AsyncSession, row: KnowledgeBaseRow) -> KnowledgeBaseView:
    counts = await repository.counts(session, row.project_id, [row.id])
    return base_view(row, *counts.get(row.id, (0, 0)))


def _check(vendors: Catalogue, embedder: VendorRef | None) -> None:
    faults = [] if embedder is None else list(faults_of(vendors, "embed", embedder, "embedder"))
    if faults:
        raise Invalid(faults=faults)


@asynccontextmanager
async def read_documents(plane: Plane) -> AsyncIterator[None]:
    """Sends the documents that are to be read, takes what was read, and gives up what nobody reads."""

    async def give_up() -> None:
        async with plane.database.system() as session, session.begin():
            await ingesting.give_up(session)

    async with Lane(plane, KIND).open(), repeated("documents", give_up, GIVE_UP_EVERY_S):
        yield


@asynccontextmanager
async def answer_workers(plane: Plane) -> AsyncIterator[None]:
    """Answers the questions of live calls and of conversations in writing."""
    serving = await plane.bus.serve(act("knowledge"), Answers(plane).answer, queue=CONTROL_QUEUE)
    try:
        yield
    finally:
        await serving.close()


KNOWLEDGE: Final = Slice(
    name="knowledge",
    routes=(
        create_knowledge_base,
        list_knowledge_bases,
        get_knowledge_base,
        change_knowledge_base,
        delete_knowledge_base,
        reindex_knowledge_base,
        search_knowledge_base,
        *document_routes.ROUTES,
    ),
    tasks=(read_documents, answer_workers),
)
