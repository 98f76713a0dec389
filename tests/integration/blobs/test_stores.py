"""One suite for every store: memory, a folder, and S3 behind a real server."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from turncall_blobs import BadKey, BlobStore, BothStores, MemoryStore, NoSuchBlob, open_store
from turncall_blobs.store import CHUNK_BYTES
from turncall_testkit.stack import Stack

WAV = "audio/wav"
PART = "recordings/prj_1/call_1/0001/000000.wav"


@pytest.fixture(scope="module")
async def bucket(stack: Stack) -> AsyncIterator[BlobStore]:
    urls = stack.urls
    async with open_store(urls.blobs_url, urls.blobs_access_key, urls.blobs_secret_key) as opened:
        yield opened


@pytest.fixture(params=["memory", "folder", "both", "s3"])
async def store(request: pytest.FixtureRequest, bucket: BlobStore, tmp_path: Path) -> AsyncIterator[BlobStore]:
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "both":
        yield BothStores(MemoryStore(), MemoryStore())
    elif request.param == "folder":
        async with open_store(f"file://{tmp_path}") as folder:
            yield folder
    else:
        yield bucket
        await bucket.delete_prefix("recordings/")


async def test_what_is_put_is_read_back(store: BlobStore) -> None:
    """An object comes back byte for byte, with its size and content type."""
    await store.put(PART, b"RIFF\x00\xff", WAV)

    assert await store.read(PART) == b"RIFF\x00\xff"
    found = await store.stat(PART)
    assert (found.key, found.size_bytes) == (PART, 6)
    assert found.content_type in {WAV, "audio/x-wav"}


async def test_second_put_replaces_the_first(store: BlobStore) -> None:
    """A key holds what was put last."""
    await store.put(PART, b"a longer first version", WAV)
    await store.put(PART, b"second", WAV)

    assert await store.read(PART) == b"second"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 5, b"34"),
        (8, 99, b"89"),
        (10, None, b""),
        (12, 20, b""),
        (4, 4, b""),
    ],
)
async def test_ranges_are_half_open(store: BlobStore, start: int, end: int | None, expected: bytes) -> None:
    """A range holds its start and not its end, and what lies beyond the object is empty."""
    await store.put(PART, b"0123456789", WAV)

    assert await store.read(PART, start, end) == expected


async def test_streams_come_in_bounded_pieces(store: BlobStore) -> None:
    """A large object is never in memory whole."""
    data = bytes(range(256)) * (CHUNK_BYTES // 100)
    await store.put(PART, data, WAV)

    pieces = [piece async for piece in store.stream(PART, 7)]

    assert b"".join(pieces) == data[7:]
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= CHUNK_BYTES


async def test_absent_objects_are_reported_by_key(store: BlobStore) -> None:
    """Reading what is not there names the key."""
    with pytest.raises(NoSuchBlob, match="nothing"):
        await store.read("recordings/nothing.wav")
    with pytest.raises(NoSuchBlob, match="nothing"):
        await store.stat("recordings/nothing.wav")
    with pytest.raises(NoSuchBlob, match="nothing"):
        await store.read("recordings/nothing.wav", 5, 5)


async def test_deleting_twice_is_harmless(store: BlobStore) -> None:
    """After a delete the object is gone, and a second delete changes nothing."""
    await store.put(PART, b"x", WAV)
    await store.delete(PART)
    await store.delete(PART)

    with pytest.raises(NoSuchBlob):
        await store.read(PART)


async def test_prefixes_reach_whole_segments_only(store: BlobStore) -> None:
    """Removing one call's recording leaves that of the call whose id merely begins alike."""
    mine = [f"recordings/prj_1/call_1/0001/{index:06}.wav" for index in range(3)]
    other = "recordings/prj_1/call_10/0001/000000.wav"
    await asyncio.gather(*(store.put(key, b"x", WAV) for key in [*reversed(mine), other]))

    assert [key async for key in store.keys("recordings/prj_1/call_1/")] == mine
    assert await store.delete_prefix("recordings/prj_1/call_1/") == 3
    assert [key async for key in store.keys("recordings/prj_1/")] == [other]
    assert await store.delete_prefix("recordings/prj_1/call_1/") == 0


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "a/../b", "a//b", "a/./b", "..", "a\\b", "a\0b", "a b", "x" * 600, "a/"]
)
async def test_keys_that_could_escape_are_refused(store: BlobStore, key: str) -> None:
    """Nothing outside the store's own keys is touched, read or written."""
    with pytest.raises(BadKey):
        await store.put(key, b"x", WAV)
    with pytest.raises(BadKey):
        await store.read(key)
    with pytest.raises(BadKey):
        await store.delete(key)
    with pytest.raises(BadKey):
        await store.delete_prefix(f"{key}/")


async def test_prefixes_end_with_a_slash(store: BlobStore) -> None:
    """A prefix that could end inside a name is refused, for listing and for deleting."""
    with pytest.raises(BadKey):
        await store.delete_prefix("recordings/prj_1/call_1")
    with pytest.raises(BadKey):
        await anext(store.keys("recordings/prj_1/call_1"))


async def test_presigned_urls_open_one_object(bucket: BlobStore) -> None:
    """A presigned URL serves ranges of its object to anybody, and no other object."""
    await bucket.put(PART, b"0123456789", WAV)
    url = await bucket.presign(PART, 60)
    assert url is not None

    ranged = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    assert await asyncio.to_thread(_body, ranged) == b"234"
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(_body, urllib.request.Request(url.replace("000000.wav", "000001.wav")))
    refused.value.close()
    assert refused.value.code == 403
    await bucket.delete(PART)


async def test_absent_buckets_are_made_when_asked(stack: Stack) -> None:
    """Development needs no other tool to make its bucket."""
    urls = stack.urls
    elsewhere = urls.blobs_url.replace(urls.s3_bucket, "made-on-demand", 1)
    for _ in range(2):
        async with open_store(elsewhere, urls.blobs_access_key, urls.blobs_secret_key, create_bucket=True) as store:
            await store.put("x/y.txt", b"here", "text/plain")
            assert await store.delete_prefix("x/") == 1


def _body(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=5) as answer:
        body: bytes = answer.read()
        return body
