"""Knowledge: how documents become passages, what they are asked, and what is answered with where it stands.

Vectors are little-endian float32, one after the other.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from turncall_proto.agent import VendorRef
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId
from turncall_proto.marks import PERSONAL, Instant, Speech

EMBED_WITHIN_S: Final = 5.0
"""For the vectors of a question; without them it is answered by its words alone."""
ANSWER_WITHIN_S: Final = 1.5
"""For passages, which a caller waits for."""
EMBED_ON_CALL_S: Final = 0.8
"""Of that, for the vectors."""
LONGEST_QUESTION: Final = 4000


class Cutting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the text of a document is cut into passages."""

    passage_characters: Annotated[
        int, Meta(ge=200, le=8000, description="What a passage holds at most; headings begin a new one.")
    ] = 1200
    overlap_characters: Annotated[
        int, Meta(ge=0, le=1000, description="Of a passage that are repeated in the next one of the same section.")
    ] = 150
    context: Annotated[
        Literal["headings", "none"],
        Meta(
            description="headings: a passage is found also by the name of its document and by the headings that it "
            "stands under."
        ),
    ] = "headings"

    def __post_init__(self) -> None:
        if self.overlap_characters * 2 > self.passage_characters:
            raise ValueError("overlap_characters may be half of passage_characters at most")


class CutPassage(Struct, frozen=True, kw_only=True):
    """One passage as the text pool stores it, in the order of the document. ``context`` is what it is found by beside
    its text. ``vector`` is empty without an embedder."""

    text: Annotated[str, PERSONAL]
    heading: str = ""
    page: int | None = None
    context: str = ""
    vector: bytes = b""


class CutDocument(Struct, frozen=True, kw_only=True):
    """What a document became: MessagePack in the object store, until control has read it."""

    passages: tuple[CutPassage, ...]


class Source(Struct, frozen=True, kw_only=True):
    """A base that is searched, and how much of it is wanted."""

    base_id: KnowledgeBaseId
    top_k: Annotated[int, Meta(ge=1, le=50)] = 5
    min_similarity: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Citation(Struct, frozen=True, kw_only=True):
    """Where something stands that the agent was told."""

    base_id: KnowledgeBaseId
    document_id: DocumentId
    document: Annotated[str, Meta(description="Its name when it was read.")]
    passage: Annotated[int, Meta(ge=0, description="Passages of a document are counted from 0.")]
    heading: Annotated[str, Meta(description="The headings that it stands under.")] = ""
    page: Annotated[int | None, Meta(description="From 1; null where there are no pages.")] = None
    similarity: Annotated[
        float | None, Meta(description="Cosine of question and passage; null when words alone have found it.")
    ] = None


class Passage(Struct, frozen=True, kw_only=True):
    """A passage that was found, the best one first."""

    citation: Citation
    text: Annotated[str, PERSONAL]


class KnowledgeAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="search"):
    """A worker asks what bases of a project say to a question. Past ``deadline`` (aware UTC) nobody waits."""

    project_id: ProjectId
    question: Annotated[str, Meta(max_length=LONGEST_QUESTION), PERSONAL]
    sources: tuple[Source, ...]
    deadline: Instant


class KnowledgeWanted(Struct, frozen=True, kw_only=True, tag_field="type", tag="whole"):
    """A worker asks for all that bases hold, if that is no more than ``at_most`` characters of each."""

    project_id: ProjectId
    at_most: dict[KnowledgeBaseId, int]
    deadline: Instant


class KnowledgeAnswered(Struct, frozen=True, kw_only=True):
    """What was found. ``detail``: what keeps the answer from being whole, such as an embedder that is away."""

    passages: tuple[Passage, ...] = ()
    detail: str = ""


class EmbedAsked(Struct, frozen=True, kw_only=True, tag_field="type", tag="embed"):
    """Control asks a worker of the pool ``text`` for the vectors of questions.

    ``secrets`` and ``own_vendors`` are as in a call's plan.
    """

    project_id: ProjectId
    embedder: VendorRef
    texts: tuple[Speech, ...]
    deadline: Instant
    secrets: dict[str, str] = field(default_factory=dict)
    own_vendors: tuple[str, ...] = ()


class EmbedAnswered(Struct, frozen=True, kw_only=True):
    """One vector for each text; none, and why."""

    vectors: tuple[bytes, ...] = ()
    detail: str = ""
