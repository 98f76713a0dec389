"""From blocks to passages: along headings, never too long, nothing lost."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from turncall_media.documents.blocks import Block
from turncall_media.documents.cutting import passages
from turncall_media.documents.formats.pdf import without_running_lines
from turncall_proto.knowledge import Cutting

HANDBOOK = (
    Block(text="Handbook", level=1),
    Block(text="Welcome."),
    Block(text="Returns", level=2),
    Block(text="Within thirty days.", page=2),
    Block(text="A receipt is needed.", page=3),
    Block(text="Questions", level=2),
    Block(text="Do you deliver?", level=3),
    Block(text="Do you gift wrap?", level=3),
    Block(text="Yes, for two dollars."),
)


def test_a_section_is_a_passage_under_its_headings() -> None:
    """Each names the headings that lead to it and the page it begins on; a heading with nothing under it is text."""
    cut = passages("staff_handbook.pdf", HANDBOOK, Cutting())
    assert [(one.heading, one.text, one.page) for one in cut] == [
        ("Handbook", "Welcome.", None),
        ("Handbook > Returns", "Within thirty days.", 2),
        ("Handbook > Returns", "A receipt is needed.", 3),
        ("Handbook > Questions", "Do you deliver?", None),
        ("Handbook > Questions > Do you gift wrap?", "Yes, for two dollars.", None),
    ]
    assert cut[1].context == "staff handbook > Handbook > Returns"
    assert {one.context for one in passages("a.md", HANDBOOK, Cutting(context="none"))} == {""}


def test_what_is_too_long_is_cut_between_sentences_and_overlaps() -> None:
    """The end of a passage is said again in the next one, in whole sentences."""
    text = " ".join(f"This is sentence number {number} of the text." for number in range(40))
    cut = passages("a.txt", [Block(text=text)], Cutting(passage_characters=300, overlap_characters=60))
    assert len(cut) > 5
    for before, after in pairwise(cut):
        assert len(after.text) <= 300
        repeated = after.text.split("\n")[0]
        assert repeated.startswith("This is sentence number")
        assert before.text.endswith(repeated)


WORDS = st.text("abc de.f\n!", max_size=400)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(WORDS, st.integers(0, 3)), max_size=12),
    longest=st.integers(200, 400),
    overlap=st.integers(0, 100),
)
def test_no_passage_is_too_long_and_no_letter_is_lost(texts: list[tuple[str, int]], longest: int, overlap: int) -> None:
    """Whatever the document: text stands in passages in its order, and headings above or in them."""
    blocks = [Block(text=text.strip(), level=level) for text, level in texts if text.strip()]
    cut = passages("a.txt", blocks, Cutting(passage_characters=longest, overlap_characters=overlap))
    assert all(0 < len(one.text) <= longest for one in cut)
    whole = "".join("".join(f"{one.text}".split()) for one in cut)
    for block in blocks:
        if not block.level:
            for word in block.text.split():
                assert word[:longest] in whole


def test_what_stands_on_every_page_is_left_out() -> None:
    """Headers and footers, their page numbers aside; what stands on one page stays, and short documents stay whole."""
    pages = [["Acme Inc.", f"Text {number} of its own", "more", "x", f"Page {number} of 6"] for number in "abcdef"]
    pages = [[line.replace("Page a", "Page 1") for line in page] for page in pages]
    numbered = [[*page[:-1], f"Page {number}"] for number, page in enumerate(pages, start=1)]
    assert without_running_lines(numbered)[0] == ["Text a of its own", "more"]
    assert without_running_lines(numbered[:3])[0] == numbered[0]
    slides = [[f"Chapter {number}", "It tells of paintings."] for number in range(9)]
    assert without_running_lines(slides) == slides
