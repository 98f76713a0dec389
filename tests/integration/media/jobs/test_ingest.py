"""Documents from the queue to passages with vectors: every format, and everything that is made to do harm."""

import asyncio
import io
import json
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import docx
import msgspec
import numpy as np
import pypdf
import pytest
from aiohttp import web

from turncall_blobs import MemoryStore
from turncall_bus.memory import MemoryBus
from turncall_media.jobs import ingest
from turncall_media.jobs.shape import Desk, JobPostponed, JobRefused
from turncall_media.text.embedding import Embeddings
from turncall_media.text.tally import Tally
from turncall_proto import ids
from turncall_proto.agent import VendorRef
from turncall_proto.codec import decode, encode
from turncall_proto.ids import DocumentId, JobId, KnowledgeBaseId, ProjectId
from turncall_proto.job import IngestJob
from turncall_proto.knowledge import CutDocument, CutPassage, Cutting, EmbedAnswered, EmbedAsked
from turncall_testkit.papers import pdf, swelling_docx, swelling_pdf
from turncall_testkit.vendors import Manners, openai_fake

LOCAL = VendorRef(vendor="local")


class Reader:
    """A desk, and documents that are read at it."""

    def __init__(self, egress_allow: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        self.desk = Desk(
            bus=MemoryBus(),
            blobs=MemoryStore(),
            open_secret=lambda sealed: sealed,
            egress_allow=egress_allow,
            mcp_programs={},
            now=lambda: datetime.now(UTC),
        )
        self.tally = Tally()

    async def read(
        self, name: str, data: bytes = b"", *, embedder: VendorRef | None = None, **more: Any
    ) -> tuple[CutPassage, ...]:
        """The passages of a file."""
        if data:
            await self.desk.blobs.put("file", data, "application/octet-stream")
        job = IngestJob(
            job_id=JobId(ids.mint(ids.JOB)),
            project_id=ProjectId(ids.mint(ids.PROJECT)),
            planned_at=datetime.now(UTC),
            base_id=KnowledgeBaseId(ids.mint(ids.KNOWLEDGE_BASE)),
            document_id=DocumentId(ids.mint(ids.DOCUMENT)),
            name=name,
            key="" if "url" in more else "file",
            cutting=more.pop("cutting", Cutting()),
            embedder=embedder,
            secrets={"openai": "a-key"},
            own_vendors=("openai",),
            **more,
        )
        self.done = await ingest.run(job, self.desk, self.tally)
        body = await self.desk.blobs.read(self.done.key)
        cut = msgspec.msgpack.decode(body, type=CutDocument)
        assert self.done.passages == len(cut.passages)
        return cut.passages


def told(passages: tuple[CutPassage, ...]) -> list[tuple[str, str]]:
    return [(passage.heading, passage.text) for passage in passages]


def a_docx() -> bytes:
    paper = docx.Document()
    paper.add_heading("Prices", level=1)
    paper.add_paragraph("All prices are in dollars.")
    table = paper.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("Item", "Price", "Bread", "4"), strict=True):
        cell.text = text
    file = io.BytesIO()
    paper.save(file)
    return file.getvalue()


def locked_pdf() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["Secret."])))
    writer.encrypt("a-password", algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


HTML = (
    b"<!doctype html><title>Acme</title><nav>Home</nav><main><h1>Hours</h1><p>We open at <b>nine</b>.</p>"
    b"<h2>Holidays</h2><ul><li>Closed on May 1.</ul><script>alert(1)</script></main>"
)


async def test_every_format_becomes_passages_under_headings() -> None:
    """What a reader sees of it, where it stands, and nothing else."""
    reader = Reader()
    cut = await reader.read(
        "guide.pdf", pdf(["Hours\nWe open at nine.", "Parking\nBehind the house."], [("Parking", 2)])
    )
    assert told(cut) == [("", "Hours\nWe open at nine."), ("Parking", "Behind the house.")]
    assert [passage.page for passage in cut] == [1, 2]
    assert told(await reader.read("prices.docx", a_docx())) == [
        ("Prices", "All prices are in dollars.\nItem: Bread; Price: 4")
    ]
    assert told(await reader.read("page.html", HTML)) == [
        ("Acme > Hours", "We open at nine."),
        ("Acme > Hours > Holidays", "Closed on May 1."),
    ]
    markdown = b"# Hours\n\nWe open at [nine](https://x.example).\n\n| Day | Until |\n|---|---|\n| Monday | 5 |\n"
    assert told(await reader.read("hours.md", markdown)) == [("Hours", "We open at nine.\nDay | Until\nMonday | 5")]
    assert told(await reader.read("prices.csv", b"item;price\nbread;4\n")) == [("", "item: bread; price: 4")]
    tree = json.dumps({"shop": {"name": "Acme", "days": ["Monday", "Friday"]}}).encode()
    assert told(await reader.read("shop.json", tree)) == [("shop", "name: Acme; days: Monday, Friday")]
    assert told(await reader.read("shop.yaml", b"shop:\n  name: Acme\n")) == [("shop", "name: Acme")]
    assert told(await reader.read("note.txt", "Grüße\n\nvon hier".encode("cp1252"))) == [("", "Grüße\nvon hier")]
    assert reader.done.content_type == "text/plain"


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("empty.pdf", lambda: b"  \n"),
    "encrypted": ("locked.pdf", lambda: locked_pdf()),
    "corrupt": ("torn.pdf", lambda: pdf(["Hello."])[:300]),
    "corrupt docx": ("torn.docx", lambda: a_docx()[:2000]),
    "mislabelled": ("really.pdf", lambda: b"This is text."),
    "mislabelled archive": ("data.txt", lambda: b"\x1f\x8b" + bytes(100)),
    "unsupported": ("old.doc", lambda: b"\xd0\xcf\x11\xe0" + bytes(600)),
    "no_text": ("scan.pdf", lambda: pdf([""])),
    "too_large zip": ("bomb.docx", lambda: swelling_docx(100_000_000)),
    "too_large pdf": ("bomb.pdf", lambda: swelling_pdf(300_000_000)),
    "too_large yaml": (
        "bomb.yaml",
        lambda: (
            b"a0: &a0 [x, x, x]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9))
        ),
    ),
    "corrupt json": ("deep.json", lambda: b"[" * 400_000),
}


@pytest.mark.parametrize("case", BOMBS)
async def test_harmful_files_are_refused_by_name_with_bounded_means(case: str) -> None:
    """The reason is a word, and it took seconds of CPU; the kernel holds the parser's own process to its memory."""
    name, made = BOMBS[case]
    data = made()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(JobRefused) as refused:
        await Reader().read(name, data)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert refused.value.reason == case.split(maxsplit=1)[0] or (
        case.startswith("too_large") and refused.value.reason == "too_slow"
    )
    assert str(refused.value)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


async def test_vectors_come_from_the_base_s_embedder_and_are_counted() -> None:
    """The local one needs nothing; OpenAI's is asked in batches; what is said twice the same way is near."""
    reader = Reader()
    text = b"# Warranty\n\nThe warranty lasts three years.\n\n# Bakery\n\nWe sell bread and cakes.\n"
    cut = await reader.read("a.md", text, embedder=LOCAL)
    assert reader.done.dimensions == 256
    warranty, bakery = (np.frombuffer(passage.vector, "<f4") for passage in cut)
    embeddings = Embeddings(lambda sealed: sealed, (), lambda: datetime.now(UTC))
    asked = EmbedAsked(
        project_id=ProjectId("prj_" + "0" * 32),
        embedder=LOCAL,
        texts=("How long is the guarantee?",),
        deadline=datetime.fromisoformat("2100-01-01T00:00:00Z"),
    )
    question = np.frombuffer(decode(await embeddings.answer(encode(asked)), EmbedAnswered).vectors[0], "<f4")
    assert question @ warranty > question @ bakery + 0.2

    async with openai_fake() as fake:
        ref = VendorRef(vendor="openai", options=fake.options("embed") | {"dimensions": 64})
        many = "\n\n".join(f"# Section {number}\n\nIts text." for number in range(200)).encode()
        cut = await reader.read("many.md", many, embedder=ref)
        assert {len(passage.vector) for passage in cut} == {64 * 4}
        assert [len(one.fields["input"]) for one in fake.journal] == [128, 72]
        assert fake.journal[0].fields["input"][0] == "many > Section 0\nIts text."
        (_, used) = reader.tally.used
        assert (used.vendor, used.model) == ("openai", "fake-1")
        assert used.input_tokens > 400
        fake.manners = Manners(fault="fail")
        with pytest.raises(JobPostponed):
            await reader.read("a.md", text, embedder=ref)
        fake.manners = Manners(fault="refuse_key")
        with pytest.raises(JobRefused) as refused:
            await reader.read("a.md", text, embedder=ref)
        assert refused.value.reason == "embedder"
    await embeddings.close()


@asynccontextmanager
async def site(*routes: web.RouteDef) -> AsyncIterator[str]:
    """A website on loopback."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_page_is_read_over_redirects_but_never_inside() -> None:
    """Three redirects are followed; each address is looked at, and what is gone or busy is told apart."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=HTML, content_type="text/html")

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound({"/a": "/b", "/b": "/c", "/c": "/page"}[request.path])

    async def inside(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/latest")

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503)

    routes = [web.get(path, moved) for path in ("/a", "/b", "/c")]
    async with site(*routes, web.get("/page", page), web.get("/inside", inside), web.get("/busy", busy)) as url:
        reader = Reader()
        cut = await reader.read("https://acme.example", url=f"{url}/a")
        assert told(cut)[0] == ("Acme > Hours", "We open at nine.")
        assert reader.done.size_bytes == len(HTML)
        for path in ("/inside", "/gone"):
            with pytest.raises(JobRefused) as refused:
                await reader.read("x", url=f"{url}{path}")
            assert refused.value.reason == "not_reached"
        with pytest.raises(JobPostponed):
            await reader.read("x", url=f"{url}/busy")
        with pytest.raises(JobRefused, match="not allowed"):
            await Reader(egress_allow=()).read("x", url=f"{url}/page")


async def test_reading_that_is_called_off_leaves_no_process_behind() -> None:
    """As at the end of a worker: whoever takes the job next begins anew."""
    task = asyncio.create_task(Reader().read("bomb.yaml", BOMBS["too_large yaml"][1]()))
    await asyncio.sleep(0.3)
    task.cancel()
    began_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began_s < 30
