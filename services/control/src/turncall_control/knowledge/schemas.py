"""Knowledge bases, documents and searches as the API takes and shows them."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from turncall_control.http.fields import Label, Moment
from turncall_control.knowledge.model import DocumentState, Language
from turncall_proto.agent import VendorRef
from turncall_proto.ids import DocumentId, KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import LONGEST_QUESTION, Cutting, Passage

Description = Annotated[str, Meta(max_length=2000, description="For people.")]
EmbedderField = Annotated[
    VendorRef | None,
    Meta(
        description="Who makes vectors of passages and of questions: a vendor of the kind `embed`. Null: passages are"
        " found by their words alone."
    ),
]
Url = Annotated[
    str, Meta(pattern=r"^https?://", max_length=2048, description="A public page or file; read over the egress wall.")
]
Similarity = Annotated[
    float,
    Meta(ge=0, le=1, description="What shares no word with the question must be so near to it at least, by cosine."),
]


class KnowledgeBaseNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A base to be made."""

    name: Label
    description: Description = ""
    language: Annotated[Language, Meta(description="Of its documents; other: words are taken as they are.")] = (
        Language.EN
    )
    embedder: EmbedderField = field(default_factory=lambda: VendorRef(vendor="local"))
    cutting: Cutting = field(default_factory=Cutting)


class KnowledgeBaseChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different. Language, embedder and cutting hold for what is read from then on: a document that was
    read is found as it was, until it is read anew."""

    name: Label | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    embedder: EmbedderField | UnsetType = UNSET
    cutting: Cutting | UnsetType = UNSET


class KnowledgeBaseView(Struct, frozen=True, kw_only=True):
    """A base, and how much there is in it."""

    id: KnowledgeBaseId
    project_id: ProjectId
    name: str
    description: str
    language: Language
    embedder: VendorRef | None
    cutting: Cutting
    documents: Annotated[int, Meta(description="Whatever their state.")]
    passages: int
    created_at: Moment


class DocumentForm(Struct, frozen=True, kw_only=True):
    """A file to be read: PDF, DOCX, HTML, Markdown, text, CSV, JSON or YAML."""

    file: Annotated[
        bytes, Meta(description="25 MiB at most. Its name says what it is; so does the type that it is sent with.")
    ]


class PageNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page to be read, and again whenever it is re-indexed."""

    url: Url
    name: Annotated[Label | None, Meta(description="What it is cited as; null: its address.")] = None


class DocumentView(Struct, frozen=True, kw_only=True):
    """A document of a base."""

    id: DocumentId
    base_id: KnowledgeBaseId
    name: str
    url: Annotated[str, Meta(description="Where it is read from; empty for a file.")]
    content_type: str
    size_bytes: Annotated[int | None, Meta(description="Null until a page was read.")]
    state: Annotated[DocumentState, Meta(description="One that is ready stays so while it is read anew.")]
    is_being_read: bool
    reason: Annotated[
        str,
        Meta(
            description="Why it could not be read the last time: empty, unsupported, mislabelled, encrypted, corrupt,"
            " no_text, too_large, too_slow, not_reached, embedder, base_full, given_up."
        ),
    ]
    failure: Annotated[str, Meta(description="The same in words.")]
    characters: int
    passages: int
    dimensions: Annotated[int, Meta(description="Of its vectors; 0 without.")]
    read_at: Moment | None
    created_at: Moment


class PassageView(Struct, frozen=True, kw_only=True):
    """What a document was cut into, and what is cited."""

    passage: Annotated[int, Meta(description="Counted from 0.")]
    heading: str
    page: int | None
    text: str


class SearchAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to a base."""

    question: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUESTION)]
    top_k: Annotated[int, Meta(ge=1, le=50, description="Passages at most.")] = 5
    min_similarity: Similarity = 0.3


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """The passages that answer it best, the best one first."""

    passages: tuple[Passage, ...]
    detail: Annotated[
        str, Meta(description="Why only words were looked for, when the embedder gave no vector of the question.")
    ]


class Reindexing(Struct, frozen=True, kw_only=True):
    """How many documents are read anew; they are found as they were until that is done."""

    documents: int
