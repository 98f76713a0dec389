"""What an object store does, whatever is behind it, and how it fails."""

import re
from collections.abc import AsyncIterator
from typing import Final, Protocol

from msgspec import Struct

LONGEST_KEY: Final = 512
CHUNK_BYTES: Final = 256 * 1024
"""A stream's pieces are at most this long."""

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=@+-]{1,200}")


class BlobError(Exception):
    """The store did not do what was asked. The message names the key."""


class BadKey(BlobError, ValueError):
    """A key or prefix that no store of ours holds. It is refused before anything is touched."""


class NoSuchBlob(BlobError):
    """There is nothing under the key."""


class StoreUnavailable(BlobError):
    """The store does not answer, is full or fails: the same request may succeed later."""


class Blob(Struct, frozen=True, kw_only=True):
    """What is known of an object without reading it."""

    key: str
    size_bytes: int
    content_type: str


class BlobStore(Protocol):
    """Objects under keys such as ``recordings/prj_…/call_…/1/000000.wav``.

    An object appears whole or not at all, and a second `put` replaces the first. Every method raises `BadKey` and
    `StoreUnavailable`; those that read raise `NoSuchBlob`.
    """

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores ``data``; when it returns, the object survives a crash of this process and of the store's."""

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` up to and without ``end``, or to the last. What lies beyond the object is empty."""

    def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The same bytes in pieces of at most `CHUNK_BYTES`, never the whole object in memory."""

    async def stat(self, key: str) -> Blob:
        """Size and content type."""

    async def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""

    async def delete_prefix(self, prefix: str) -> int:
        """Removes every object whose key begins with ``prefix``, which ends with a slash; the answer is how many."""

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys that begin with ``prefix``, which ends with a slash, in ascending order."""

    async def presign(self, key: str, ttl_s: int) -> str | None:
        """A URL that lets anybody read the object for ``ttl_s`` seconds; None where a store has no such thing."""


def checked_key(key: str) -> str:
    """``key`` itself: segments of letters, digits and ``._=@+-`` between slashes, none of them a dot or two.

    Raises `BadKey`.
    """
    if len(key) > LONGEST_KEY or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise BadKey(f"not a key of an object: {key[:80]!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """``prefix`` itself: a key and a slash, so that ``call_1/`` never reaches into ``call_10/``. Raises `BadKey`."""
    if not prefix.endswith("/"):
        raise BadKey(f"a prefix ends with a slash: {prefix[:80]!r}")
    checked_key(prefix[:-1])
    return prefix
