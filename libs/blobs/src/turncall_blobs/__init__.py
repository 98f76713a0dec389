"""The object store: a local folder or S3."""

from turncall_blobs.both import BothStores
from turncall_blobs.memory import MemoryStore
from turncall_blobs.opening import open_store
from turncall_blobs.s3 import Bucket, open_bucket
from turncall_blobs.store import BadKey, Blob, BlobError, BlobStore, NoSuchBlob, StoreUnavailable

__all__ = [
    "BadKey",
    "Blob",
    "BlobError",
    "BlobStore",
    "BothStores",
    "Bucket",
    "MemoryStore",
    "NoSuchBlob",
    "StoreUnavailable",
    "open_bucket",
    "open_store",
]
