"""The table of numbers that are not called."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from turncall_control.db.base import Id, Row, Word, created_at
from turncall_control.trail import PRIVATE
from turncall_proto import ids
from turncall_proto.ids import DoNotCallId, ProjectId


class ListedBy(StrEnum):
    """Who put a number on the list: somebody with a key, or the person in a conversation with an agent."""

    API = "api"
    PERSON = "person"


class DoNotCallRow(Row):
    """A number that the project does not call. It outlives the conversation in which it was asked for."""

    __tablename__ = "do_not_call"
    __table_args__ = (UniqueConstraint("project_id", "number"),)

    id: Mapped[DoNotCallId] = mapped_column(Id(ids.DO_NOT_CALL), primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(Id(ids.PROJECT), ForeignKey("projects.id"))
    number: Mapped[str] = mapped_column(info=PRIVATE)
    listed_by: Mapped[ListedBy] = mapped_column(Word(ListedBy))
    note: Mapped[str]
    created_at: Mapped[datetime] = created_at()
