"""Knowledge bases, their documents, and the passages of these with their words and vectors."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

from turncall_control.migrations.walls import wall

revision = "0027"
down_revision = "0026"

_MOMENT = sa.DateTime(timezone=True)
_OPEN = sa.text("state in ('due', 'sent')")
_LANGUAGES = "'da','de','en','es','fi','fr','hu','it','nl','no','other','pt','ro','ru','sv','tr'"


def upgrade() -> None:
    """Makes the tables, each behind its wall; a job may be a document's."""
    _bases()
    _documents()
    _passages()
    op.add_column("jobs", sa.Column("document_id", sa.Uuid))
    op.create_index(
        "ux_jobs_kind_document_id_open", "jobs", ["kind", "document_id"], unique=True, postgresql_where=_OPEN
    )


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''"))


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, nullable=False, server_default=sa.func.now())


def _count(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _bases() -> None:
    op.create_table(
        "knowledge_bases",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _text("description"),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("embedder", postgresql.JSONB),
        sa.Column("cutting", postgresql.JSONB, nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_knowledge_bases"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_knowledge_bases_project_id_projects"),
        sa.UniqueConstraint("project_id", "id", name="uq_knowledge_bases_project_id_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_knowledge_bases_project_id_name"),
        sa.CheckConstraint(f"language in ({_LANGUAGES})", name="ck_knowledge_bases_language"),
    )
    wall("knowledge_bases")


def _documents() -> None:
    op.create_table(
        "knowledge_documents",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("base_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _text("url"),
        _text("content_type"),
        sa.Column("size_bytes", sa.Integer),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'processing'")),
        sa.Column("is_being_read", sa.Boolean, nullable=False, server_default=sa.text("true")),
        _text("reason"),
        _text("failure"),
        _count("characters"),
        _count("passages"),
        _count("dimensions"),
        sa.Column("embedder", postgresql.JSONB),
        sa.Column("read_at", _MOMENT),
        _now("seen_at"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_knowledge_documents"),
        sa.UniqueConstraint("project_id", "id", name="uq_knowledge_documents_project_id_id"),
        sa.ForeignKeyConstraint(
            ["project_id", "base_id"],
            ["knowledge_bases.project_id", "knowledge_bases.id"],
            name="fk_knowledge_documents_base",
        ),
        sa.CheckConstraint("state in ('processing', 'ready', 'failed')", name="ck_knowledge_documents_state"),
    )
    op.create_index("ix_knowledge_documents_base_id_id", "knowledge_documents", ["base_id", "id"])
    wall("knowledge_documents")


def _passages() -> None:
    op.create_table(
        "knowledge_passages",
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("base_id", sa.Uuid, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("words", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("embedding", HALFVEC),
        sa.PrimaryKeyConstraint("document_id", "ordinal", name="pk_knowledge_passages"),
        sa.ForeignKeyConstraint(
            ["project_id", "document_id"],
            ["knowledge_documents.project_id", "knowledge_documents.id"],
            name="fk_knowledge_passages_document",
        ),
    )
    op.create_index("ix_knowledge_passages_base_id", "knowledge_passages", ["base_id"])
    op.create_index("ix_knowledge_passages_words", "knowledge_passages", ["words"], postgresql_using="gin")
    # In the row itself and as it is: every search of a base reads all of its vectors, and only then a few texts.
    op.execute("alter table knowledge_passages alter column embedding set storage plain")
    wall("knowledge_passages")
