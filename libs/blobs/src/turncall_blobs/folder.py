"""A store in a local folder: an object is a file under its key."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from secrets import token_hex

from turncall_blobs.store import CHUNK_BYTES, BadKey, Blob, NoSuchBlob, StoreUnavailable, checked_key, checked_prefix

UNKNOWN_TYPE = "application/octet-stream"


class FolderStore:
    """A `BlobStore` under ``root``, which is made if absent.

    ``objects/`` holds the files. A content type that the key's suffix does not tell is kept in ``types/``. New files
    grow in ``drafts/`` and move into place whole. Work on the disk is done in threads.
    """

    def __init__(self, root: Path) -> None:
        self._objects, self._types, self._drafts = root / "objects", root / "types", root / "drafts"
        for folder in (self._objects, self._types, self._drafts):
            folder.mkdir(parents=True, exist_ok=True)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `BlobStore.put`."""
        await _off_loop(key, lambda: self._put(checked_key(key), data, content_type))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `BlobStore.read`."""
        path = self._objects / checked_key(key)
        return await _off_loop(key, lambda: _read(path, start, end))

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        path = self._objects / checked_key(key)
        file = await _off_loop(key, lambda: path.open("rb"))
        try:
            file.seek(start)
            while wanted := CHUNK_BYTES if end is None else max(0, min(CHUNK_BYTES, end - file.tell())):
                if not (chunk := await _off_loop(key, partial(file.read, wanted))):
                    return
                yield chunk
        finally:
            file.close()

    async def stat(self, key: str) -> Blob:
        """See `BlobStore.stat`."""
        path = self._objects / checked_key(key)
        size_bytes = await _off_loop(key, lambda: _size(path))
        kept = await _off_loop(key, lambda: _text_of(self._types / key))
        return Blob(key=key, size_bytes=size_bytes, content_type=kept or _type_of(key))

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        for root in (self._types, self._objects):
            await _off_loop(key, partial((root / checked_key(key)).unlink, missing_ok=True))

    async def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore.delete_prefix`."""
        checked_prefix(prefix)
        return await _off_loop(prefix, lambda: self._delete_prefix(prefix))

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See `BlobStore.keys`."""
        checked_prefix(prefix)
        for key in await _off_loop(prefix, lambda: self._keys(prefix)):
            yield key

    async def presign(self, key: str, ttl_s: int) -> str | None:
        """None: a folder has no address. Serve the bytes with `stream`."""
        checked_key(key)
        return None

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        if content_type != _type_of(key):
            self._write(self._types / key, content_type.encode())
        else:
            (self._types / key).unlink(missing_ok=True)
        try:
            self._write(self._objects / key, data)
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise BadKey(f"{key} lies within another object's key, or the other way round") from error

    def _write(self, target: Path, data: bytes) -> None:
        draft = self._drafts / token_hex(16)
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(target)
            _sync_folder(target.parent)
        finally:
            draft.unlink(missing_ok=True)

    def _delete_prefix(self, prefix: str) -> int:
        count = len(self._keys(prefix))
        for folder in (self._objects / prefix, self._types / prefix):
            if folder.exists():
                shutil.rmtree(folder)
        return count

    def _keys(self, prefix: str) -> list[str]:
        found = (path for path in (self._objects / prefix).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self._objects)) for path in found)


async def _off_loop[ResultT](key: str, work: Callable[[], ResultT]) -> ResultT:
    """``work`` done in a thread, its failures as the store's own."""
    with _translated(key):
        return await asyncio.to_thread(work)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NoSuchBlob(key) from error
    except OSError as error:
        raise StoreUnavailable(f"{key}: {error.strerror}") from error


def _read(path: Path, start: int, end: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(-1 if end is None else max(0, end - start))


def _size(path: Path) -> int:
    """Opened, and not only looked at: a folder on the way to other objects is no object."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size


def _text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _type_of(key: str) -> str:
    return guess_type(key)[0] or UNKNOWN_TYPE


def _sync_folder(folder: Path) -> None:
    """A rename is safe on disk once its folder is (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
