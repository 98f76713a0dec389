"""What agents may know: bases, their documents, and what they say to a question."""

from typing import Any

from turncall.client.shapes import (
    DocumentView,
    KnowledgeBaseView,
    KnowledgeUses,
    Page,
    PassageView,
    Reindexing,
    SearchAnswer,
)
from turncall.client.transport import Transport
from turncall_proto.ids import CallId, DocumentId, KnowledgeBaseId


class Knowledge(Transport):
    """Part of `TurnCall`."""

    async def create_knowledge_base(self, name: str, *, key: str = "", **fields: Any) -> KnowledgeBaseView:
        """A base without documents; ``fields`` are the API's: description, language, embedder, cutting."""
        return await self.request(
            "POST", "/v1/knowledge-bases", KnowledgeBaseView, body={"name": name, **fields}, key=key
        )

    async def knowledge_bases(self, *, cursor: str | None = None, name: str | None = None) -> Page[KnowledgeBaseView]:
        """The project's bases, newest first."""
        query = {"cursor": cursor, "name": name}
        return await self.request("GET", "/v1/knowledge-bases", Page[KnowledgeBaseView], query=query)

    async def knowledge_base(self, base_id: KnowledgeBaseId) -> KnowledgeBaseView:
        """One base."""
        return await self.request("GET", f"/v1/knowledge-bases/{base_id}", KnowledgeBaseView)

    async def change_knowledge_base(self, base_id: KnowledgeBaseId, **fields: Any) -> KnowledgeBaseView:
        """Changes what is given; how documents are read holds from the next reading on."""
        return await self.request("PATCH", f"/v1/knowledge-bases/{base_id}", KnowledgeBaseView, body=fields)

    async def delete_knowledge_base(self, base_id: KnowledgeBaseId) -> None:
        """Deletes a base that no agent knows of, with everything in it."""
        await self.perform("DELETE", f"/v1/knowledge-bases/{base_id}")

    async def reindex_knowledge_base(self, base_id: KnowledgeBaseId) -> Reindexing:
        """Has every document of a base read anew."""
        return await self.request("POST", f"/v1/knowledge-bases/{base_id}/reindex", Reindexing)

    async def search_knowledge_base(self, base_id: KnowledgeBaseId, question: str, **fields: Any) -> SearchAnswer:
        """The passages that answer a question; ``fields`` are the API's: top_k, min_similarity."""
        path = f"/v1/knowledge-bases/{base_id}/search"
        return await self.request("POST", path, SearchAnswer, body={"question": question, **fields})

    async def call_knowledge(self, call_id: CallId) -> KnowledgeUses:
        """What the agent of a call was told, and where it stands."""
        return await self.request("GET", f"/v1/calls/{call_id}/knowledge", KnowledgeUses)

    async def upload_document(
        self, base_id: KnowledgeBaseId, name: str, data: bytes, *, content_type: str = "", key: str = ""
    ) -> DocumentView:
        """Has a file read; its ``state`` says when that is done."""
        path = f"/v1/knowledge-bases/{base_id}/documents"
        return await self.upload(path, DocumentView, name, data, content_type=content_type, key=key)

    async def add_page(
        self, base_id: KnowledgeBaseId, url: str, *, name: str | None = None, key: str = ""
    ) -> DocumentView:
        """Has a page read."""
        path = f"/v1/knowledge-bases/{base_id}/pages"
        return await self.request("POST", path, DocumentView, body={"url": url, "name": name}, key=key)

    async def documents(
        self, base_id: KnowledgeBaseId, *, cursor: str | None = None, state: str | None = None
    ) -> Page[DocumentView]:
        """The documents of a base, newest first."""
        query = {"cursor": cursor, "state": state}
        return await self.request("GET", f"/v1/knowledge-bases/{base_id}/documents", Page[DocumentView], query=query)

    async def document(self, base_id: KnowledgeBaseId, document_id: DocumentId) -> DocumentView:
        """One document."""
        return await self.request("GET", f"/v1/knowledge-bases/{base_id}/documents/{document_id}", DocumentView)

    async def passages(
        self, base_id: KnowledgeBaseId, document_id: DocumentId, *, cursor: str | None = None
    ) -> Page[PassageView]:
        """What a document was cut into."""
        path = f"/v1/knowledge-bases/{base_id}/documents/{document_id}/passages"
        return await self.request("GET", path, Page[PassageView], query={"cursor": cursor})

    async def reindex_document(self, base_id: KnowledgeBaseId, document_id: DocumentId) -> DocumentView:
        """Has a document read anew."""
        path = f"/v1/knowledge-bases/{base_id}/documents/{document_id}/reindex"
        return await self.request("POST", path, DocumentView)

    async def delete_document(self, base_id: KnowledgeBaseId, document_id: DocumentId) -> None:
        """Deletes a document with everything that was made of it."""
        await self.perform("DELETE", f"/v1/knowledge-bases/{base_id}/documents/{document_id}")
