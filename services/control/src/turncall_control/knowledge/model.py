"""The tables of knowledge bases, of their documents, and of the passages that these consist of."""

from datetime import datetime
from enum import StrEnum

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_control.trail import PRIVATE
from turncall_proto import ids
from turncall_proto.agent import VendorRef
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import Cutting


class Language(StrEnum):
    """The language of a base's documents, by which forms of a word are known to be one word."""

    DA = "da"
    DE = "de"
    EN = "en"
    ES = "es"
    FI = "fi"
    FR = "fr"
    HU = "hu"
    IT = "it"
    NL = "nl"
    NO = "no"
    OTHER = "other"
    PT = "pt"
    RO = "ro"
    RU = "ru"
    SV = "sv"
    TR = "tr"


DICTIONARIES = {
    Language.DA: "danish",
    Language.DE: "german",
    Language.EN: "english",
    Language.ES: "spanish",
    Language.FI: "finnish",
    Language.FR: "french",
    Language.HU: "hungarian",
    Language.IT: "italian",
    Language.NL: "dutch",
    Language.NO: "norwegian",
    Language.OTHER: "simple",
    Language.PT: "portuguese",
    Language.RO: "romanian",
    Language.RU: "russian",
    Language.SV: "swedish",
    Language.TR: "turkish",
}
"""What Postgres calls each; ``simple`` takes words as they are."""


class DocumentState(StrEnum):
    """Where a document stands. One that is ready stays so while it is read anew."""

    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class KnowledgeBaseRow(Row):
    """A base. ``number`` is what its words begin with in the index of words, so that it finds no other base's."""

    __tablename__ = "knowledge_bases"
    __table_args__ = (UniqueConstraint("project_id", "id"), UniqueConstraint("project_id", "name"))

    id: Mapped[KnowledgeBaseId] = mapped_column(Id(ids.KNOWLEDGE_BASE), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    language: Mapped[Language] = mapped_column(Word(Language))
    embedder: Mapped[VendorRef | None] = mapped_column(StructJson(VendorRef))
    cutting: Mapped[Cutting] = mapped_column(StructJson(Cutting))
    created_at: Mapped[datetime] = created_at()


class DocumentRow(Row):
    """A document. ``embedder`` made the vectors of its passages; ``is_being_read``: a job for it is under way.

    ``reason`` and ``failure`` say why it could not be read the last time. ``seen_at`` is when that job was ordered.
    """

    __tablename__ = "knowledge_documents"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        ForeignKeyConstraint(
            ["project_id", "base_id"],
            ["knowledge_bases.project_id", "knowledge_bases.id"],
            name="fk_knowledge_documents_base",
        ),
        Index("ix_knowledge_documents_base_id_id", "base_id", "id"),
    )

    id: Mapped[DocumentId] = mapped_column(Id(ids.DOCUMENT), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    base_id: Mapped[KnowledgeBaseId] = mapped_column(Id(ids.KNOWLEDGE_BASE))
    name: Mapped[str]
    url: Mapped[str] = mapped_column(server_default=text("''"))
    content_type: Mapped[str] = mapped_column(server_default=text("''"))
    size_bytes: Mapped[int | None]
    state: Mapped[DocumentState] = mapped_column(Word(DocumentState), server_default=text("'processing'"))
    is_being_read: Mapped[bool] = mapped_column(server_default=text("true"))
    reason: Mapped[str] = mapped_column(server_default=text("''"))
    failure: Mapped[str] = mapped_column(server_default=text("''"))
    characters: Mapped[int] = mapped_column(server_default=text("0"))
    passages: Mapped[int] = mapped_column(server_default=text("0"))
    dimensions: Mapped[int] = mapped_column(server_default=text("0"))
    embedder: Mapped[VendorRef | None] = mapped_column(StructJson(VendorRef))
    read_at: Mapped[datetime | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    created_at: Mapped[datetime] = created_at()


class PassageRow(Row):
    """A passage. ``words`` are its lexemes behind the number of its base, ``embedding`` is null without an embedder."""

    __tablename__ = "knowledge_passages"
    __table_args__ = (
        ForeignKeyConstraint(
            ["project_id", "document_id"],
            ["knowledge_documents.project_id", "knowledge_documents.id"],
            name="fk_knowledge_passages_document",
        ),
        Index("ix_knowledge_passages_base_id", "base_id"),
        Index("ix_knowledge_passages_words", "words", postgresql_using="gin"),
    )

    document_id: Mapped[DocumentId] = mapped_column(Id(ids.DOCUMENT), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    base_id: Mapped[KnowledgeBaseId] = mapped_column(Id(ids.KNOWLEDGE_BASE))
    heading: Mapped[str]
    page: Mapped[int | None]
    text: Mapped[str] = mapped_column(info=PRIVATE)
    words: Mapped[list[str]] = mapped_column(ARRAY(Text))
    embedding: Mapped[object | None] = mapped_column(HALFVEC)
