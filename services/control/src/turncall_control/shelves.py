"""Where recordings lie: in the installation's store, and once their call is over in the project's bucket, if any."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiobotocore.session import get_session

from turncall_blobs import BlobStore, BothStores, Bucket, StoreUnavailable, open_bucket
from turncall_control.envelope import CannotDecrypt
from turncall_control.wallet import BUCKET, OwnBucket, Wallets
from turncall_egress import Wall, walled_connector
from turncall_proto.ids import ProjectId


class Unreadable(StoreUnavailable):
    """Nobody can read the keys of a project's bucket any more."""


class Shelves:
    """Opens the stores of projects. Connections to a project's own bucket go where the wall lets them."""

    def __init__(self, wallets: Wallets, installation: BlobStore, wall: Wall) -> None:
        self._wallets = wallets
        self._installation = installation
        self._wall = wall
        self._session = get_session()

    @asynccontextmanager
    async def own(self, project_id: ProjectId) -> AsyncIterator[BlobStore | None]:
        """The project's own bucket, None when it has none. Raises `Unreadable`."""
        try:
            bucket = (await self._wallets.open(project_id)).bucket
        except CannotDecrypt as error:
            raise Unreadable(f"the bucket of {project_id} cannot be used: {error}") from error
        if bucket is None:
            yield None
            return
        async with self.opened(bucket) as store:
            self._wallets.used(project_id, BUCKET, [bucket.bucket])
            yield store

    @asynccontextmanager
    async def of(self, project_id: ProjectId) -> AsyncIterator[BlobStore]:
        """All that is kept of the project's recordings, wherever it lies. Raises `Unreadable`."""
        async with self.own(project_id) as own:
            yield self._installation if own is None else BothStores(self._installation, own)

    @asynccontextmanager
    async def opened(self, bucket: OwnBucket) -> AsyncIterator[BlobStore]:
        """A bucket as its owner described it."""
        where = Bucket(name=bucket.bucket, endpoint=bucket.endpoint, region=bucket.region)
        connector = walled_connector(self._wall)
        async with open_bucket(
            where, bucket.access_key, bucket.secret_key, connector=connector, session=self._session
        ) as store:
            yield store
