"""The tables of agents and of their versions."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, StructJson, Word, created_at
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, ProjectId, VersionId


class Environment(StrEnum):
    """Which calls an agent is meant for. Each agent lives in one, so publishing in one touches no other."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class VersionState(StrEnum):
    """Where a version stands. Only a draft can be changed; only the published one answers calls."""

    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class AgentRow(Row):
    """A name in an environment, under which versions follow each other."""

    __tablename__ = "agents"
    __table_args__ = (
        UniqueConstraint("project_id", "id"),
        UniqueConstraint("project_id", "environment", "name"),
    )

    id: Mapped[AgentId] = mapped_column(Id(ids.AGENT), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    name: Mapped[str]
    environment: Mapped[Environment] = mapped_column(Word(Environment))
    max_concurrent_calls: Mapped[int | None]
    created_at: Mapped[datetime] = created_at()
    archived_at: Mapped[datetime | None]


class VersionRow(Row):
    """One version of an agent. The indexes allow one draft and one published version at a time."""

    __tablename__ = "agent_versions"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "agent_id"], ["agents.project_id", "agents.id"]),
        UniqueConstraint("agent_id", "number"),
        Index("one_draft", "agent_id", unique=True, postgresql_where=text("state = 'draft'")),
        Index("one_published", "agent_id", unique=True, postgresql_where=text("state = 'published'")),
    )

    id: Mapped[VersionId] = mapped_column(Id(ids.VERSION), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT))
    agent_id: Mapped[AgentId] = mapped_column(Id(ids.AGENT))
    number: Mapped[int]
    state: Mapped[VersionState] = mapped_column(Word(VersionState))
    config: Mapped[AgentSpec] = mapped_column(StructJson(AgentSpec))
    created_at: Mapped[datetime] = created_at()
    published_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]
