"""Files to upload: a PDF of a few lines, and files that are made to do harm."""

import io
import zipfile
import zlib
from collections.abc import Sequence

WORD_TYPES = (
    b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="xml" ContentType="application/xml"/></Types>'
)


def pdf(pages: Sequence[str], titles: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF with these pages of plain text; ``titles`` are its outline, each with the number of its page from 1."""
    streams = [_page_stream(text) for text in pages]
    return _pdf([zlib.compress(stream) for stream in streams], titles)


def swelling_pdf(unpacked_bytes: int) -> bytes:
    """A small PDF whose one page unpacks to very much."""
    packer = zlib.compressobj(1)
    piece = b" " * 1_000_000
    body = b"".join(packer.compress(piece) for _ in range(unpacked_bytes // len(piece))) + packer.flush()
    return _pdf([body], ())


def swelling_docx(unpacked_bytes: int) -> bytes:
    """A small archive that calls itself a Word document and unpacks to very much."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", WORD_TYPES)
        with archive.open("word/document.xml", "w") as part:
            for _ in range(unpacked_bytes // 1_000_000):
                part.write(b" " * 1_000_000)
    return file.getvalue()


def _page_stream(text: str) -> bytes:
    lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.splitlines()]
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    return f"BT /F1 11 Tf 14 TL 50 780 Td {shown} ET".encode("latin-1", "replace")


def _pdf(streams: Sequence[bytes], titles: Sequence[tuple[str, int]]) -> bytes:
    first_page, count = 4, len(streams)
    outline = first_page + 2 * count
    root = b"<< /Type /Catalog /Pages 2 0 R" + (b" /Outlines %d 0 R" % outline if titles else b"") + b" >>"
    kids = b" ".join(b"%d 0 R" % (first_page + 2 * index) for index in range(count))
    objects = [
        root,
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, stream in enumerate(streams):
        content = first_page + 2 * index + 1
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % content
        )
        objects.append(b"<< /Length %d /Filter /FlateDecode >> stream\n%s\nendstream" % (len(stream), stream))
    if titles:
        last = outline + len(titles)
        objects.append(b"<< /Type /Outlines /First %d 0 R /Last %d 0 R >>" % (outline + 1, last))
        for index, (title, page) in enumerate(titles):
            number = outline + 1 + index
            ways = (b" /Prev %d 0 R" % (number - 1) if index else b"") + (
                b" /Next %d 0 R" % (number + 1) if number < last else b""
            )
            objects.append(
                b"<< /Title (%s) /Parent %d 0 R%s /Dest [%d 0 R /Fit] >>"
                % (title.encode("latin-1", "replace"), outline, ways, first_page + 2 * (page - 1))
            )
    return _written(objects)


def _written(objects: Sequence[bytes]) -> bytes:
    file, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)
