"""A store inside the process, for tests: the same behaviour as the others, nothing kept."""

from collections.abc import AsyncIterator

from turncall_blobs.store import CHUNK_BYTES, Blob, NoSuchBlob, checked_key, checked_prefix


class MemoryStore:
    """A `BlobStore` that forgets."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, str]] = {}

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `BlobStore.put`; nothing survives here."""
        self._objects[checked_key(key)] = (bytes(data), content_type)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `BlobStore.read`."""
        return self._found(key)[0][start:end]

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        data = self._found(key)[0][start:end]
        for offset in range(0, len(data), CHUNK_BYTES):
            yield data[offset : offset + CHUNK_BYTES]

    async def stat(self, key: str) -> Blob:
        """See `BlobStore.stat`."""
        data, content_type = self._found(key)
        return Blob(key=key, size_bytes=len(data), content_type=content_type)

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._objects.pop(checked_key(key), None)

    async def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore.delete_prefix`."""
        keys = [key async for key in self.keys(prefix)]
        for key in keys:
            del self._objects[key]
        return len(keys)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See `BlobStore.keys`."""
        checked_prefix(prefix)
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield key

    async def presign(self, key: str, ttl_s: int) -> str | None:
        """None: nobody can reach into this process."""
        checked_key(key)
        return None

    def _found(self, key: str) -> tuple[bytes, str]:
        try:
            return self._objects[checked_key(key)]
        except KeyError as error:
            raise NoSuchBlob(key) from error
