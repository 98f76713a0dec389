"""HTML: what a reader sees, without navigation, scripts and forms."""

from collections.abc import Callable, Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from turncall_media.documents.blocks import Block
from turncall_media.documents.recognition import decoded

_UNSEEN: Final = [
    "script",
    "style",
    "template",
    "noscript",
    "nav",
    "header",
    "footer",
    "aside",
    "form",
    "svg",
    "iframe",
]
_OF_ITS_OWN: Final = frozenset(
    {"p", "li", "tr", "pre", "blockquote", "dt", "dd", "figcaption", "caption", "div", "section", "article", "body"}
    | {"h1", "h2", "h3", "h4", "h5", "h6"}
)
_CELLS: Final = frozenset({"td", "th", "br"})
_DEEPEST: Final = 32
"""Tags between some text and its paragraph; what lies deeper belongs to the text before it."""


def blocks(data: bytes, progressed: Callable[[], None]) -> Iterator[Block]:
    """See `FormatModule`."""
    page = LexborHTMLParser(decoded(data))
    title = page.css_first("title")
    if title is not None:
        yield Block(text=_words(title.text()), level=1)
    page.strip_tags(_UNSEEN)
    progressed()
    root = page.css_first("main") or page.css_first("article") or page.body
    if root is not None:
        yield from _within(root, progressed)


def _within(root: LexborNode, progressed: Callable[[], None]) -> Iterator[Block]:
    """In the order of the page; without recursion, since pages may be nested without end."""
    owner, level, text = 0, 0, list[str]()
    for node in root.traverse(include_text=True):
        if node.tag in _CELLS:
            text.append(" ")
        if node.tag != "-text":
            continue
        of, its_level = _owner(node, owner, level)
        if of != owner:
            yield Block(text=_words("".join(text)), level=level)
            progressed()
            owner, level, text = of, its_level, []
        text.append(node.text_content or "")
    yield Block(text=_words("".join(text)), level=level)


def _owner(node: LexborNode, owner: int, level: int) -> tuple[int, int]:
    """Which paragraph or heading some text belongs to, and the level of that: the page's title stands above all."""
    above: LexborNode | None = node.parent
    for _ in range(_DEEPEST):
        if above is None:
            break
        name = above.tag or ""
        if name in _OF_ITS_OWN:
            return above.mem_id, min(6, 1 + int(name[1])) if name[0] == "h" and name[1:].isdigit() else 0
        above = above.parent
    return owner, level


def _words(text: str) -> str:
    return " ".join(text.split())
