"""From the configured address to a store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from turncall_blobs.folder import FolderStore
from turncall_blobs.s3 import Bucket, open_bucket
from turncall_blobs.store import BlobStore

DEFAULT_REGION = "us-east-1"


@asynccontextmanager
async def open_store(
    url: str, access_key: str = "", secret_key: str = "", *, create_bucket: bool = False
) -> AsyncIterator[BlobStore]:
    """The store at ``url``, closed at the end; either of

    ``file:///absolute/folder``, or ``s3://bucket?endpoint=http://host:port&region=us-east-1`` where both parameters
    may be left out (AWS, `DEFAULT_REGION`) and both keys are needed. Development makes an absent bucket with
    ``create_bucket``. Raises `ValueError` for another address, `StoreUnavailable` and `BlobError` from S3.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        yield FolderStore(Path(unquote(parts.path)))
        return
    if parts.scheme != "s3" or not parts.netloc or parts.path not in ("", "/"):
        raise ValueError("the blobs URL is file:///absolute/folder or s3://bucket?endpoint=…&region=…")
    if not access_key or not secret_key:
        raise ValueError("S3 needs an access key and a secret key")
    async with open_bucket(_bucket(parts.netloc, parts.query), access_key, secret_key, create=create_bucket) as store:
        yield store


def _bucket(name: str, query: str) -> Bucket:
    options = parse_qs(query, strict_parsing=bool(query))
    if unknown := options.keys() - {"endpoint", "region"}:
        raise ValueError(f"the blobs URL has unknown parameters: {', '.join(sorted(unknown))}")
    endpoint, region = options.get("endpoint", [None])[0], options.get("region", [DEFAULT_REGION])[0]
    return Bucket(name=name, endpoint=endpoint, region=region)
