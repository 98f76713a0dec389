"""Which format a file has: by what it begins with, and only then by its name and by what it was said to be."""

from pathlib import PurePosixPath
from typing import Final

from turncall_media.documents.blocks import Format, Reason, Unreadable

_BY_SUFFIX: Final[dict[str, Format]] = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_BY_TYPE: Final[dict[str, Format]] = {
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/plain": "text",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
}
CONTENT_TYPES: Final[dict[Format, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
    "csv": "text/csv",
    "json": "application/json",
    "yaml": "application/yaml",
}
"""What each format is called when it is shown."""
_BINARY: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xd0\xcf\x11\xe0", "an old Office file (.doc, .xls); save it as .docx or PDF"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
KNOWN: Final = "PDF, DOCX, HTML, Markdown, text, CSV, JSON or YAML"
_HEAD: Final = 1024
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def format_of(data: bytes, name: str, content_type: str) -> Format:
    """The format of a file. Raises `Unreadable`: ``empty``, ``mislabelled`` when it is not what its name says,
    ``unsupported``."""
    if not data.strip():
        raise Unreadable("empty", "The file is empty")
    said = _said(name, content_type)
    if b"%PDF-" in data[:_HEAD]:
        return _agreed("pdf", said)
    if data[:4] == b"PK\x03\x04":
        if b"word/" in data:
            return _agreed("docx", said)
        raise Unreadable(_unlike(said), f"It is an archive without a Word document in it; upload {KNOWN}")
    for magic, what in _BINARY:
        if data.startswith(magic):
            raise Unreadable(_unlike(said), f"It is {what}; upload {KNOWN}")
    if said in ("pdf", "docx"):
        raise Unreadable("mislabelled", f"It is called {said.upper()} and is none")
    if b"\0" in data[:_HEAD] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(_unlike(said), f"It is not text; upload {KNOWN}")
    if said is not None:
        return said
    is_html = data[:_HEAD].lstrip().lower().startswith((b"<!doctype html", b"<html"))
    return "html" if is_html else "text"


def _said(name: str, content_type: str) -> Format | None:
    """What it is called: a name says more than the type that browsers make up for it."""
    known = _BY_SUFFIX.get(PurePosixPath(name.lower()).suffix)
    return known or _BY_TYPE.get(content_type.partition(";")[0].strip().lower())


def _agreed(found: Format, said: Format | None) -> Format:
    if said is not None and said != found:
        raise Unreadable("mislabelled", f"It is called {said.upper()} and is {found.upper()}")
    return found


def _unlike(said: Format | None) -> Reason:
    return "unsupported" if said is None else "mislabelled"


def decoded(data: bytes) -> str:
    """Text in UTF-8, or in what its byte order mark says, or in the Western code page. Raises `Unreadable`."""
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise Unreadable("mislabelled", f"It is not text; upload {KNOWN}")
    return text
