"""What a voice is to read of a text that was written for a screen. Pure.

Models write Markdown, pictures and addresses, however often their prompt forbids it. Sentences come one by one, so a
mark may stand in one and its other half in the next.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

_LINK: Final = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_URL: Final = re.compile(r"<?\b(?:https?://|www\.)(?:[^\s/@<>]+@)?([^\s/?#<>:()\[\]]+)([^\s<>\"]*)>?", re.IGNORECASE)
_LINE_MARK: Final = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+)+", re.MULTILINE)
_RULE: Final = re.compile(r"^[ \t]*(?:[-*_=|:][ \t]*){3,}$", re.MULTILINE)
_FENCE: Final = re.compile(r"```[\w+-]*|`")
_DOUBLE: Final = re.compile(r"\*\*+|~~|(?<!\w)__|__(?!\w)")
_PAIRED: Final = re.compile(r"(?<![\w*])([*_])(?=[^\s*_])([^*\n]*?[^\s*_])\1(?![\w*])")
_ROW_END: Final = re.compile(r"^[ \t]*\|[ \t]*|[ \t]*\|[ \t]*$", re.MULTILINE)
_CELL: Final = re.compile(r"[ \t]*\|[ \t]*")
_SPACES: Final = re.compile(r"[ \t]{2,}")
_FIRST_PICTURE: Final = 0x2190
"""Below lie signs that are read, such as degrees and copyright."""
_JOINERS: Final = frozenset("\u200d\ufe0e\ufe0f\u20e3")
_SKINS: Final = range(0x1F3FB, 0x1F400)
_TAGS: Final = range(0xE0020, 0xE0080)


def plain(text: str) -> str:
    """``text`` without Markdown and emoji; of an address of the web only its host stays. Empty if that was all of it.

    Text without any of them comes back as it was.
    """
    kept = _LINK.sub(r"\1", text)
    kept = _URL.sub(_host, kept)
    kept = _RULE.sub("", kept)
    kept = _LINE_MARK.sub("", kept)
    kept = _DOUBLE.sub("", _FENCE.sub("", kept))
    kept = _PAIRED.sub(r"\2", kept)
    kept = _CELL.sub(", ", _ROW_END.sub("", kept))
    kept = _without_pictures(kept)
    return text if kept == text else _SPACES.sub(" ", kept).strip()


def pronounced(pronunciations: Mapping[str, str]) -> Callable[[str], str]:
    """Puts in place of each word what the voice is to be given: whole words, in any case, the longest first; what
    stands there then is not looked at again."""
    if not pronunciations:
        return lambda text: text
    spoken = {word.casefold(): said for word, said in pronunciations.items()}
    longest_first = sorted(pronunciations, key=len, reverse=True)
    words = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    return lambda text: words.sub(lambda found: spoken.get(found[0].casefold(), found[0]), text)


def _host(found: re.Match[str]) -> str:
    """Its name, and the punctuation that belonged to the sentence."""
    name, rest = found[1], found[2]
    end = re.search(r"[.,;!?)\]]+$", rest or name)
    name = name.rstrip(".,;!") if not rest else name
    return name.removeprefix("www.") + (end[0] if end else "")


def _without_pictures(text: str) -> str:
    if text.isascii():
        return text
    kept: list[str] = []
    for character in text:
        if not _is_picture(character):
            kept.append(character)
        elif kept and kept[-1] == " ":
            kept.pop()
    return "".join(kept)


def _is_picture(character: str) -> bool:
    code = ord(character)
    if character in _JOINERS or code in _SKINS or code in _TAGS:
        return True
    return code >= _FIRST_PICTURE and unicodedata.category(character) == "So"
