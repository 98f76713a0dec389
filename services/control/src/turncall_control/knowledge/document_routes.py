"""/v1/knowledge-bases/{base_id}/documents: files and pages, what became of them, what they were cut into."""

import re
from typing import Annotated, Any, Final

from litestar import Request, delete, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_blobs import BlobError, keys
from turncall_control.auth import Caller, Permission, in_path, needs
from turncall_control.db.engine import in_project
from turncall_control.errors import Invalid, TooLarge, Unavailable, UnsupportedMedia
from turncall_control.http.destinations import check_url
from turncall_control.http.paging import Page, PageAsked, paged
from turncall_control.knowledge import repository
from turncall_control.knowledge.model import DocumentRow, DocumentState
from turncall_control.knowledge.schemas import DocumentForm, DocumentView, PageNew, PassageView
from turncall_control.knowledge.views import document_view, passage_view
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.ids import DocumentId, KnowledgeBaseId

LARGEST_FILE: Final = 25 * 1024 * 1024
_FORM_BYTES: Final = LARGEST_FILE + 64 * 1024
LONGEST_NAME: Final = 200
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]|.*[/\\]", re.DOTALL)
_BASE: Final = in_path("base_id", ids.KNOWLEDGE_BASE)
_DOCUMENT: Final = in_path("document_id", ids.DOCUMENT, within=_BASE)
_READ, _WRITE = Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_WRITE


@post(
    "/v1/knowledge-bases/{base_id:str}/documents",
    status_code=202,
    tags=["knowledge"],
    opt=needs(_WRITE, _BASE, idempotent=True, form=DocumentForm),
    request_max_body_size=_FORM_BYTES,
)
async def upload_document(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
) -> DocumentView:
    """Takes a file to be read. Its `state` tells when that is done; so do `document.ready` and `document.failed`."""
    async with in_project(plane.database, caller.project_id) as session:
        await repository.get(session, caller.project_id, KnowledgeBaseId(base_id))
    if request.content_type[0] != "multipart/form-data":
        raise UnsupportedMedia("send the file as multipart/form-data, in the field `file`")
    file = (await request.form()).get("file")
    if not isinstance(file, UploadFile):
        raise Invalid.at("file", "A file is needed, with its name")
    try:
        data = await file.read()
    finally:
        await file.close()
    if len(data) > LARGEST_FILE:
        raise TooLarge(f"a file may have {LARGEST_FILE} bytes")
    row = DocumentRow(name=_name(file.filename), content_type=_content_type(file.content_type), size_bytes=len(data))
    return await _added(plane, caller, KnowledgeBaseId(base_id), row, data)


@post(
    "/v1/knowledge-bases/{base_id:str}/pages",
    status_code=202,
    tags=["knowledge"],
    opt=needs(_WRITE, _BASE, idempotent=True),
)
async def add_page(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    data: JSONBody[PageNew],
) -> DocumentView:
    """Takes the address of a page to be read. Addresses inside a network are refused, also behind redirects."""
    await check_url(plane, data.url)
    row = DocumentRow(name=data.name or data.url[:LONGEST_NAME], url=data.url)
    return await _added(plane, caller, KnowledgeBaseId(base_id), row, None)


async def _added(
    plane: Plane, caller: Caller, base_id: KnowledgeBaseId, row: DocumentRow, data: bytes | None
) -> DocumentView:
    """The file is stored before its row says that there is one; what a death in between leaves goes with the base."""
    row.id, row.project_id, row.base_id = DocumentId(ids.mint(ids.DOCUMENT)), caller.project_id, base_id
    row.state, row.is_being_read = DocumentState.PROCESSING, True
    if data is not None:
        try:
            key = keys.original(caller.project_id, base_id, row.id)
            await plane.blobs.put(key, data, row.content_type or "application/octet-stream")
        except BlobError as error:
            raise Unavailable("the object store cannot be reached") from error
    async with in_project(plane.database, caller.project_id) as session:
        await repository.get(session, caller.project_id, base_id, is_locked=True)
        session.add(row)
        await session.flush()
        await repository.order_reading(session, row)
        return document_view(row)


@get("/v1/knowledge-bases/{base_id:str}/documents", tags=["knowledge"], opt=needs(_READ, _BASE))
async def list_documents(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    page: NamedDependency[PageAsked],
    standing: Annotated[DocumentState | None, QueryParameter(name="state", description="Where it stands.")] = None,
) -> Page[DocumentView]:
    """The documents of a base, newest first."""
    base = await repository.get(session, caller.project_id, KnowledgeBaseId(base_id))
    rows = await repository.documents(session, base, page, standing)
    return paged(rows, page, document_view, lambda row: (row.id,))


@get("/v1/knowledge-bases/{base_id:str}/documents/{document_id:str}", tags=["knowledge"], opt=needs(_READ, _DOCUMENT))
async def get_document(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    document_id: FromPath[str],
) -> DocumentView:
    """One document."""
    return document_view(
        await repository.document(session, caller.project_id, KnowledgeBaseId(base_id), DocumentId(document_id))
    )


@get(
    "/v1/knowledge-bases/{base_id:str}/documents/{document_id:str}/passages",
    tags=["knowledge"],
    opt=needs(_READ, _DOCUMENT),
)
async def list_passages(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    document_id: FromPath[str],
    page: NamedDependency[PageAsked],
) -> Page[PassageView]:
    """What a document was cut into, in its order; citations name these."""
    row = await repository.document(session, caller.project_id, KnowledgeBaseId(base_id), DocumentId(document_id))
    rows = await repository.passages(session, row, after=_ordinal(page.after), limit=page.limit + 1)
    return paged(rows, page, passage_view, lambda passage: (str(passage.ordinal),))


@post(
    "/v1/knowledge-bases/{base_id:str}/documents/{document_id:str}/reindex",
    status_code=202,
    tags=["knowledge"],
    opt=needs(_WRITE, _DOCUMENT, idempotent=True),
)
async def reindex_document(
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    document_id: FromPath[str],
) -> DocumentView:
    """Has a document read anew, as its base says by now; it is found as it was until that is done."""
    row = await repository.document(session, caller.project_id, KnowledgeBaseId(base_id), DocumentId(document_id))
    await repository.order_reading(session, row)
    return document_view(row)


@delete(
    "/v1/knowledge-bases/{base_id:str}/documents/{document_id:str}", tags=["knowledge"], opt=needs(_WRITE, _DOCUMENT)
)
async def delete_document(
    plane: NamedDependency[Plane],
    session: NamedDependency[AsyncSession],
    caller: NamedDependency[Caller],
    base_id: FromPath[str],
    document_id: FromPath[str],
) -> None:
    """Deletes a document: its file, its passages, its vectors. Records of calls still name it where they cite it."""
    row = await repository.document(session, caller.project_id, KnowledgeBaseId(base_id), DocumentId(document_id))
    try:
        await plane.blobs.delete_prefix(keys.document(caller.project_id, row.base_id, row.id))
    except BlobError as error:
        raise Unavailable("the object store cannot be reached") from error
    await repository.delete_documents(session, [row])


def _name(filename: str) -> str:
    """What a file is called, without the folders and the control characters that a client may send."""
    name = _UNFIT.sub("", filename.encode("utf-8", "replace").decode()).strip()[-LONGEST_NAME:]
    if not name:
        raise Invalid.at("file", "The file needs a name")
    return name


def _content_type(given: str) -> str:
    return given if given.isascii() and given.isprintable() and len(given) <= 200 else ""


def _ordinal(after: tuple[str, ...] | None) -> int:
    if after is None:
        return -1
    if len(after) != 1 or not (after[0].isascii() and after[0].isdigit() and len(after[0]) < 10):
        raise Invalid.at("cursor", "It was not made by this list")
    return int(after[0])


ROUTES: Final = (
    upload_document,
    add_page,
    list_documents,
    get_document,
    list_passages,
    reindex_document,
    delete_document,
)
