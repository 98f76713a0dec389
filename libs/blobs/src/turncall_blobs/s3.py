"""A store behind the S3 API."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from msgspec import Struct

from turncall_blobs.store import (
    CHUNK_BYTES,
    Blob,
    BlobError,
    NoSuchBlob,
    StoreUnavailable,
    checked_key,
    checked_prefix,
)

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
ATTEMPTS: Final = 3
LONGEST_PRESIGN_S: Final = 7 * 24 * 3600
"""What AWS allows for a version 4 signature."""

_BATCH = 1000  # keys in one DeleteObjects request (S3 API)
_ABSENT = {"404", "NoSuchKey", "NotFound"}


class Bucket(Struct, frozen=True, kw_only=True):
    """Where a bucket is. Without an endpoint it is at AWS."""

    name: str
    endpoint: str | None
    region: str


@asynccontextmanager
async def open_bucket(
    bucket: Bucket,
    access_key: str,
    secret_key: str,
    *,
    create: bool = False,
    connector: Mapping[str, Any] | None = None,
    session: AioSession | None = None,
) -> AsyncIterator["S3Store"]:
    """A store over ``bucket``, whose connections close at the end. With ``create`` an absent bucket is made.

    ``connector`` holds arguments of aiohttp's, such as a resolver that decides where connections may go; then no proxy
    of this machine is used, which would connect for us. Who opens many buckets keeps a ``session``: a new one reads the
    SDK's description of S3 first, 100 ms of CPU against 3.
    """
    config = AioConfig(
        connector_args=cast("Any", connector),
        proxies={} if connector else None,
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # A ranged answer carries the checksum of the whole object on some servers, and would never match.
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    async with (session or get_session()).create_client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=bucket.region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=config,
    ) as client:
        if create:
            await _ensure(client, bucket)
        yield S3Store(client, bucket.name)


class S3Store:
    """A `BlobStore` over one bucket. Made by `open_bucket`, which owns the client."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `BlobStore.put`."""
        with _translated(checked_key(key)):
            await self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `BlobStore.read`."""
        return b"".join([chunk async for chunk in self.stream(key, start, end)])

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `BlobStore.stream`."""
        checked_key(key)
        if end is not None and end <= start:
            await self.stat(key)
            return
        wanted = {} if start == 0 and end is None else {"Range": _range(start, end)}
        try:
            with _translated(key):
                answer = await self._client.get_object(Bucket=self._bucket, Key=key, **wanted)
                async with answer["Body"] as body:
                    while chunk := await body.read(CHUNK_BYTES):
                        yield chunk
        except _OutsideObject:
            return

    async def stat(self, key: str) -> Blob:
        """See `BlobStore.stat`."""
        with _translated(checked_key(key)):
            head = await self._client.head_object(Bucket=self._bucket, Key=key)
        return Blob(key=key, size_bytes=head["ContentLength"], content_type=head["ContentType"])

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        with _translated(checked_key(key)):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore.delete_prefix`."""
        keys = [key async for key in self.keys(prefix)]
        for first in range(0, len(keys), _BATCH):
            objects = [{"Key": key} for key in keys[first : first + _BATCH]]
            with _translated(prefix):
                answer = await self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects})
            if failed := answer.get("Errors"):
                raise StoreUnavailable(f"{prefix}: {len(failed)} objects were not deleted ({failed[0].get('Code')})")
        return len(keys)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """See `BlobStore.keys`. S3 lists keys in the order of their bytes."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=checked_prefix(prefix)
        )
        with _translated(prefix):
            async for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    async def presign(self, key: str, ttl_s: int) -> str | None:
        """See `BlobStore.presign`; at most `LONGEST_PRESIGN_S`. The URL may be used with a Range header."""
        if not 0 < ttl_s <= LONGEST_PRESIGN_S:
            raise ValueError(f"a presigned URL lives from 1 to {LONGEST_PRESIGN_S} seconds, not {ttl_s}")
        parameters = {"Bucket": self._bucket, "Key": checked_key(key)}
        url: str = await self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=ttl_s)
        return url


class _OutsideObject(Exception):
    """The range begins at or after the object's end."""


def _range(start: int, end: int | None) -> str:
    """RFC 9110, 14.1.2: both positions are included."""
    return f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _ABSENT:
            raise NoSuchBlob(key) from error
        if status == 416:
            raise _OutsideObject from error
        if status >= 500 or status == 429:
            raise StoreUnavailable(f"{key}: S3 answered {status} {code}") from error
        raise BlobError(f"{key}: S3 refused with {status} {code}; check bucket and keys") from error
    except (BotoCoreError, HTTPClientError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"{key}: S3 does not answer ({type(error).__name__})") from error


async def _ensure(client: Any, bucket: Bucket) -> None:
    try:
        await client.head_bucket(Bucket=bucket.name)
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) not in {"404", "NoSuchBucket"}:
            raise BlobError(f"bucket {bucket.name}: S3 refused; check its name and the keys") from error
        # us-east-1 is the one region that must not be named (S3 API, CreateBucket).
        where = {} if bucket.region == "us-east-1" else {"LocationConstraint": bucket.region}
        await client.create_bucket(Bucket=bucket.name, **({"CreateBucketConfiguration": where} if where else {}))
