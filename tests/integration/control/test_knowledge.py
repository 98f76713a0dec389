"""Knowledge from the upload to the answer: control over real servers, and a real workshop of the media plane."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from turncall_blobs import keys, open_store
from turncall_bus.nats import connect
from turncall_media.counters import Counters
from turncall_media.jobs.shape import Desk
from turncall_media.text.embedding import Embeddings
from turncall_media.workshop import Workshop
from turncall_proto import ids, subjects
from turncall_proto.codec import decode, encode
from turncall_proto.ids import KnowledgeBaseId, ProjectId
from turncall_proto.knowledge import KnowledgeAnswered, KnowledgeAsked, KnowledgeWanted, Source
from turncall_runtime.seal import new_keypair, open_sealed
from turncall_testkit.papers import pdf
from turncall_testkit.stack import Stack
from turncall_testkit.vendors import Manners, openai_fake

WARRANTY = "The warranty of every machine lasts for three years."
RETURNS = "Unused goods may be sent back within thirty days, at our cost."
BAKERY = "Our bakery sells bread, rolls and cakes, fresh from six in the morning."
MANUAL = pdf([f"Warranty\n{WARRANTY}", f"Returns\n{RETURNS}"], [("Warranty", 1), ("Returns", 2)])


@dataclass
class Library:
    """A project with a knowledge base, and the media plane that reads for it."""

    api: Any
    control: Any
    bus: Any
    blobs: Any

    async def base(self, name: str = "Manuals", **fields: Any) -> str:
        return str((await self.api.done("POST", "/v1/knowledge-bases", {"name": name, **fields}))["id"])

    async def upload(self, base: str, name: str, data: bytes, **options: Any) -> Any:
        path = f"/v1/knowledge-bases/{base}/documents"
        return await self.api.done("POST", path, files={"file": (name, data)}, **options)

    async def read(self, base: str, document: Any) -> Any:
        """The document, once nobody reads it any more."""
        path = f"/v1/knowledge-bases/{base}/documents/{document['id']}"
        async with asyncio.timeout(60):
            while (shown := await self.api.done("GET", path))["is_being_read"]:  # noqa: ASYNC110 - a row says it
                await asyncio.sleep(0.05)
        return shown

    async def add(self, base: str, name: str, data: bytes) -> Any:
        return await self.read(base, await self.upload(base, name, data))

    async def ask(self, base: str, question: str, **more: Any) -> Any:
        return await self.api.done("POST", f"/v1/knowledge-bases/{base}/search", {"question": question, **more})

    async def stored(self, base: str) -> list[str]:
        prefix = keys.knowledge_base(ProjectId(self.api.project_id), KnowledgeBaseId(base))
        return [key.removeprefix(prefix) async for key in self.blobs.keys(prefix)]


@pytest.fixture(scope="module")
def seals() -> Any:
    return new_keypair()


@pytest.fixture(scope="module")
async def reading_control(run: Any, environ: Any, seals: Any) -> AsyncIterator[Any]:
    """Control with the vendors of the contract."""
    async with run(environ | {"TURNCALL_SEAL_PUBLIC_KEY": seals.public_key}, packaged=True) as started:
        yield await started.ready()


@pytest.fixture(scope="module")
async def pool(stack: Stack, seals: Any) -> AsyncIterator[Any]:
    """The pool ``text``, in this process."""

    def opened(sealed: str) -> str:
        return open_sealed(sealed, (seals.private_key,)).reveal()

    urls = stack.urls
    bus = await connect(urls.nats_url, name="text pool", timeout_s=10)
    async with open_store(urls.blobs_url, urls.blobs_access_key, urls.blobs_secret_key) as blobs:
        desk = Desk(
            bus=bus,
            blobs=blobs,
            open_secret=opened,
            egress_allow=("127.0.0.0/8",),
            mcp_programs={},
            now=lambda: datetime.now(UTC),
        )
        embeddings = Embeddings(opened, ("127.0.0.0/8",), lambda: datetime.now(UTC))
        serving = await bus.serve(subjects.EMBED, embeddings.answer, queue=subjects.TEXT_QUEUE)
        shop = Workshop(desk, 4, Counters(CollectorRegistry()).jobs)
        await shop.open()
        yield bus, blobs
        await shop.close(5)
        await serving.close()
        await embeddings.close()
    await bus.close()


@pytest.fixture
async def library(reading_control: Any, pool: Any) -> Library:
    bus, blobs = pool
    return Library(api=await reading_control.tenant(), control=reading_control, bus=bus, blobs=blobs)


async def test_what_an_uploaded_pdf_says_is_found_and_cited(library: Library) -> None:
    """By meaning, with no word in common, and by words; with document, heading and page. Told, then gone for good."""
    await library.api.done("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65000/h", "is_enabled": True})
    base = await library.base()
    sent = await library.upload(base, "C:\\files\\manual.pdf", MANUAL, headers={"Idempotency-Key": "once"})
    again = await library.upload(base, "C:\\files\\manual.pdf", MANUAL, headers={"Idempotency-Key": "once"})
    assert sent["id"] == again["id"]
    assert (sent["state"], sent["is_being_read"]) == ("processing", True)
    manual = await library.read(base, sent)
    assert (manual["state"], manual["passages"], manual["dimensions"]) == ("ready", 2, 256)
    assert (manual["name"], manual["content_type"]) == ("manual.pdf", "application/pdf")
    await library.add(base, "bakery.md", f"# Shop\n\n{BAKERY}\n".encode())

    answer = await library.ask(base, "How long is the guarantee on it?")
    best = answer["passages"][0]
    assert best["text"] == WARRANTY
    assert best["citation"] | {"similarity": 0} == {
        "base_id": base,
        "document_id": manual["id"],
        "document": "manual.pdf",
        "passage": 0,
        "heading": "Warranty",
        "page": 1,
        "similarity": 0,
    }
    assert 0.3 < best["citation"]["similarity"] < 1
    assert answer["detail"] == ""
    assert (await library.ask(base, "bread rolls"))["passages"][0]["text"] == BAKERY
    assert len((await library.ask(base, "bread", top_k=1))["passages"]) == 1
    assert (await library.ask(base, "zebra", min_similarity=0.95))["passages"] == []

    shown = await library.api.done("GET", f"/v1/knowledge-bases/{base}/documents/{manual['id']}/passages?limit=1")
    assert shown["items"][0]["text"] == WARRANTY
    path = f"/v1/knowledge-bases/{base}/documents/{manual['id']}/passages?limit=1&cursor={shown['next_cursor']}"
    assert (await library.api.done("GET", path))["items"][0]["heading"] == "Returns"
    counted = await library.api.done("GET", f"/v1/knowledge-bases/{base}")
    assert (counted["documents"], counted["passages"]) == (2, 3)
    told = await library.api.done("GET", "/v1/webhook-deliveries")
    assert [one["type"] for one in told["items"]] == ["document.ready"] * 2

    assert f"{manual['id']}/original" in await library.stored(base)
    await library.api.done("DELETE", f"/v1/knowledge-bases/{base}/documents/{manual['id']}")
    assert WARRANTY not in str(await library.ask(base, "How long is the guarantee on it?"))
    assert all(not key.startswith(manual["id"]) for key in await library.stored(base))
    await library.api.done("DELETE", f"/v1/knowledge-bases/{base}")
    assert await library.stored(base) == []
    key = ids.parsed(ids.KNOWLEDGE_BASE, base)
    for table in ("knowledge_passages", "knowledge_documents"):
        assert await library.control.sql(f"select 1 from {table} where base_id = %s", key) == []
    await library.api.refused(404, "GET", f"/v1/knowledge-bases/{base}")


async def test_what_cannot_be_read_says_why(library: Library) -> None:
    """The document is there with a reason and a sentence; forms that hold no file are refused at once."""
    base = await library.base()
    await library.api.done("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65000/h"})
    failed = await library.add(base, "really.pdf", b"This is text.")
    assert (failed["state"], failed["reason"]) == ("failed", "mislabelled")
    assert "PDF" in failed["failure"]
    told = await library.api.done("GET", "/v1/webhook-deliveries")
    assert [one["type"] for one in told["items"]] == ["document.failed"]
    listed = await library.api.done("GET", f"/v1/knowledge-bases/{base}/documents?state=failed")
    assert [one["id"] for one in listed["items"]] == [failed["id"]]
    path = f"/v1/knowledge-bases/{base}/documents"
    await library.api.refused(415, "POST", path, {"file": "x"})
    await library.api.refused(422, "POST", path, files={"other": ("a.txt", b"text")})
    await library.api.refused(413, "POST", path, files={"file": ("a.txt", bytes(26 * 1024 * 1024))})
    await library.api.refused(
        400, "POST", path, content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=y"}
    )


async def test_a_base_is_read_anew_without_a_gap(library: Library) -> None:
    """Another embedder with longer vectors: every question is answered before, meanwhile and after; a failed reading
    leaves what there was. Without an embedder that answers, words alone are looked for, which is said."""
    await library.api.done("PUT", "/v1/credentials", {"kind": "vendor", "vendor": "openai", "key": "sk-of-a-project"})
    base = await library.base()
    documents = [
        await library.add(base, f"{name}.md", text.encode()) for name, text in (("a", WARRANTY), ("b", BAKERY))
    ]
    async with openai_fake(key="sk-of-a-project") as fake:
        embedder = {"vendor": "openai", "options": fake.options("embed")}
        await library.api.done("PATCH", f"/v1/knowledge-bases/{base}", {"embedder": embedder})
        fake.manners = Manners(first_byte_after_s=0.3)
        ordered = await library.api.done("POST", f"/v1/knowledge-bases/{base}/reindex")
        assert ordered["documents"] == 2
        seen = set()
        async with asyncio.timeout(60):
            while True:
                shown = (await library.api.done("GET", f"/v1/knowledge-bases/{base}/documents"))["items"]
                seen |= {one["dimensions"] for one in shown}
                assert {one["state"] for one in shown} == {"ready"}
                assert (await library.ask(base, "warranty machine"))["passages"][0]["text"] == WARRANTY
                if not any(one["is_being_read"] for one in shown):
                    break
        assert seen == {256, 96}
        fake.manners = Manners(fault="fail")
        alone = await library.ask(base, "bread")
        assert alone["passages"][0]["text"] == BAKERY
        assert alone["passages"][0]["citation"]["similarity"] is None
        assert "openai" in alone["detail"]
        fake.manners = Manners(fault="refuse_key")
        await library.api.done("POST", f"/v1/knowledge-bases/{base}/documents/{documents[0]['id']}/reindex")
        refused = await library.read(base, documents[0])
    assert (refused["state"], refused["reason"]) == ("ready", "embedder")
    assert (await library.ask(base, "warranty"))["passages"][0]["text"] == WARRANTY


async def test_a_base_without_an_embedder_knows_the_forms_of_words(library: Library) -> None:
    """In the language of its documents; a rare word counts more than a frequent one."""
    base = await library.base(embedder=None, language="de")
    lines = [f"# Haus {number}\n\nDie Wohnung hat Fenster und Türen.\n" for number in range(6)]
    await library.add(
        base, "haus.md", "\n".join([*lines, "# Garten\n\nFenster gehen zum Garten mit Kirschbäumen."]).encode()
    )
    answer = await library.ask(base, "Fenster bei einem Kirschbaum")
    assert "Kirschbäumen" in answer["passages"][0]["text"]
    assert answer["passages"][0]["citation"]["similarity"] is None
    assert answer["detail"] == ""


async def test_workers_are_answered_within_their_project(library: Library) -> None:
    """A question to several bases is answered from all; one to another project's base from nothing; and a base that is
    small enough is given whole."""
    one, two = await library.base("One"), await library.base("Two", embedder=None)
    await library.add(one, "a.md", WARRANTY.encode())
    await library.add(two, "b.md", f"Machines weigh ten kilograms.\n\n{BAKERY}".encode())

    async def ask(project: str, asked: Any) -> KnowledgeAnswered:
        reply = await library.bus.ask(subjects.act("knowledge"), encode(asked), timeout_s=10)
        return decode(reply, KnowledgeAnswered)

    def question(project: str) -> KnowledgeAsked:
        return KnowledgeAsked(
            project_id=ProjectId(project),
            question="What about the machine?",
            sources=tuple(Source(base_id=KnowledgeBaseId(base)) for base in (one, two)),
            deadline=datetime.now(UTC) + timedelta(seconds=10),
        )

    mine = library.api.project_id
    found = await ask(mine, question(mine))
    assert {passage.citation.base_id for passage in found.passages} == {one, two}
    other = (await library.control.tenant()).project_id
    assert (await ask(other, question(other))).passages == ()

    def wanted(project: str) -> KnowledgeWanted:
        return KnowledgeWanted(
            project_id=ProjectId(project),
            at_most={KnowledgeBaseId(one): 1000, KnowledgeBaseId(two): 20},
            deadline=datetime.now(UTC) + timedelta(seconds=10),
        )

    whole = await ask(mine, wanted(mine))
    assert [passage.text for passage in whole.passages] == [WARRANTY]
    assert "Two holds" in whole.detail
    assert (await ask(other, wanted(other))).passages == ()


async def test_an_agent_knows_only_bases_of_its_project(library: Library, a_config: Any) -> None:
    """A link to anything else is refused by name, whether it is missing or another's; a base in use stays."""
    base = await library.base()
    script = {"intents": [{"name": "hello", "hears": ["hello"], "says": "Hello."}]}
    llm = {"vendor": "local", "options": {"script": script}}

    def knowing(base_id: str) -> dict[str, Any]:
        links = [{"mode": "prompt", "base_id": base}, {"mode": "auto", "base_id": base_id}]
        return {"name": "Knows", "config": a_config(llm=llm, knowledge=links)}

    theirs = Library(await library.control.tenant(), library.control, library.bus, library.blobs)
    for foreign in (await theirs.base(), "kb_" + "0" * 32):
        for path in ("/v1/agents", "/v1/agents/import"):
            problem = await library.api.refused(422, "POST", path, knowing(foreign))
            assert [fault["field"] for fault in problem["errors"]] == ["config.knowledge[1].base_id"]
    made = await library.api.done("POST", "/v1/agents", knowing(base))
    await library.api.refused(409, "DELETE", f"/v1/knowledge-bases/{base}")
    await library.api.done("DELETE", f"/v1/agents/{made['id']}")
    await library.api.done("DELETE", f"/v1/knowledge-bases/{base}")
