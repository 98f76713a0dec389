"""Two stores seen as one: objects are on their way from the first to the second."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain

from turncall_blobs.store import Blob, BlobStore, NoSuchBlob


class BothStores:
    """A `BlobStore` over what is in either; new objects go into ``first``, which is also looked into first."""

    def __init__(self, first: BlobStore, second: BlobStore) -> None:
        self._first, self._second = first, second

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `BlobStore.put`."""
        await self._second.delete(key)
        await self._first.put(key, data, content_type)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `BlobStore.read`."""
        return await self._either(lambda store: store.read(key, start, end))

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        is_begun = False
        try:
            async for piece in self._first.stream(key, start, end):
                is_begun = True
                yield piece
        except NoSuchBlob:
            if is_begun:
                raise
            async for piece in self._second.stream(key, start, end):
                yield piece

    async def stat(self, key: str) -> Blob:
        """See `BlobStore.stat`."""
        return await self._either(lambda store: store.stat(key))

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        for store in (self._first, self._second):
            await store.delete(key)

    async def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore.delete_prefix`; an object that is in both counts once."""
        found = len([key async for key in self.keys(prefix)])
        for store in (self._first, self._second):
            await store.delete_prefix(prefix)
        return found

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See `BlobStore.keys`."""
        found = [[key async for key in store.keys(prefix)] for store in (self._first, self._second)]
        for key in sorted(set(chain(*found))):
            yield key

    async def presign(self, key: str, ttl_s: int) -> str | None:
        """See `BlobStore.presign`; the URL leads to where the object is now."""

        async def presigned(store: BlobStore) -> str | None:
            await store.stat(key)
            return await store.presign(key, ttl_s)

        return await self._either(presigned)

    async def _either[AnswerT](self, ask: Callable[[BlobStore], Awaitable[AnswerT]]) -> AnswerT:
        try:
            return await ask(self._first)
        except NoSuchBlob:
            return await ask(self._second)
