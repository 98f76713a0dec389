"""From rows to what the API and webhooks show. Pure."""

from turncall_control.knowledge.model import DocumentRow, KnowledgeBaseRow, PassageRow
from turncall_control.knowledge.schemas import DocumentView, KnowledgeBaseView, PassageView


def base_view(row: KnowledgeBaseRow, documents: int, passages: int) -> KnowledgeBaseView:
    """A base's row as users see it, with what was counted."""
    return KnowledgeBaseView(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        language=row.language,
        embedder=row.embedder,
        cutting=row.cutting,
        documents=documents,
        passages=passages,
        created_at=row.created_at,
    )


def document_view(row: DocumentRow) -> DocumentView:
    """A document's row as users see it."""
    return DocumentView(
        id=row.id,
        base_id=row.base_id,
        name=row.name,
        url=row.url,
        content_type=row.content_type,
        size_bytes=row.size_bytes,
        state=row.state,
        is_being_read=row.is_being_read,
        reason=row.reason,
        failure=row.failure,
        characters=row.characters,
        passages=row.passages,
        dimensions=row.dimensions,
        read_at=row.read_at,
        created_at=row.created_at,
    )


def passage_view(row: PassageRow) -> PassageView:
    """A passage's row as users see it."""
    return PassageView(passage=row.ordinal, heading=row.heading, page=row.page, text=row.text)
