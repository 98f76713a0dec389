"""Projects' own credentials as calls use them: what is stored is read at each use, and decrypted only then.

Boxes and wrapped keys are remembered, never a secret: for the time when Postgres is away, and for five seconds where
carriers' webhooks are proven. So a changed credential works at the next call, on every replica.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from turncall_control.db import failures
from turncall_control.db.engine import Pool
from turncall_control.envelope import CannotDecrypt
from turncall_control.vault import Connection, Vault
from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime import logs
from turncall_runtime.secret import Secret

VENDOR: Final = "vendor"
TWILIO: Final = "twilio"
SERVER: Final = "server"
WHATSAPP: Final = "whatsapp"
SIGNING: Final = "signing"
BUCKET: Final = "s3"

REMEMBER_S: Final = 5.0
"""How long webhooks of an account are proven by what was read of it; a token changed on another replica may wait."""
REMEMBERED: Final = 10_000
HOLDERS: Final = 50
"""Projects that may hold one carrier account."""

_OF_PROJECTS: Final = (
    "select project_id, kind, name, box, created_at from credentials where project_id = any(%(projects)s)"
    " union all select project_id, 'signing', '', box, created_at from signing_secrets"
    " where project_id = any(%(projects)s) and (retires_at is null or retires_at > now())"
)
STORED_OF: Final = """
    (select coalesce(json_agg(json_build_object(
        'project_id', s.project_id, 'kind', s.kind, 'name', s.name, 'box', s.box, 'created_at', s.created_at)
        order by s.created_at desc), '[]')
    from (
        select project_id, kind, name, box, created_at from credentials where project_id = p.id
        union all select project_id, 'signing', '', box, created_at from signing_secrets
        where project_id = p.id and (retires_at is null or retires_at > now())
    ) s)
"""
"""What is stored of a project ``p``, the newest first, as an expression for JSON that becomes `StoredJson`."""
_OF_ACCOUNT: Final = (
    "select c.project_id, c.kind, c.name, c.box, c.created_at from credentials c"
    " join projects p on p.id = c.project_id and p.deleted_at is null"
    " where c.kind = 'twilio' and c.name = %s order by c.id limit %s"
)
_STAMP: Final = (
    "update credentials c set last_used_at = now() from unnest(%s::uuid[], %s::text[], %s::text[]) as u (p, kind, name)"
    " where c.project_id = u.p and c.kind = u.kind and c.name = u.name"
)


log = logs.logger(__name__)


class TwilioTokens(Struct, frozen=True, kw_only=True):
    """What is in the box of a Twilio account: while a token rotates, both are accepted."""

    auth_token: str
    secondary_auth_token: str | None = None


class TwilioAccount(Struct, frozen=True, kw_only=True):
    """An account at Twilio; the first token is tried first."""

    account_sid: str
    auth_tokens: tuple[Secret, ...]


class OwnBucket(Struct, frozen=True, kw_only=True):
    """A project's own bucket behind the S3 API, as it is encrypted; without an endpoint it is at AWS."""

    bucket: str
    endpoint: str | None
    region: str
    access_key: str
    secret_key: str


class WhatsAppSecrets(Struct, frozen=True, kw_only=True):
    """What is in the box of a WhatsApp sender: while the app's secret rotates, both are accepted."""

    access_token: str
    app_secret: str
    verify_token: str
    secondary_app_secret: str | None = None


class WhatsAppSender(Struct, frozen=True, kw_only=True):
    """A number of a WhatsApp business account, and the secrets of the app that its webhooks come from."""

    phone_number_id: str
    access_token: Secret
    app_secrets: tuple[Secret, ...]
    verify_token: Secret


class Wallet(Struct, frozen=True, kw_only=True):
    """One project's own credentials, decrypted: let it go when the work is done.

    ``signing_secrets`` sign requests to the project's servers, the newest first; none are stored for a project that
    has never rotated the derived one. ``server_headers`` maps a host to the headers that go there, a JSON object.
    """

    vendor_keys: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    twilio: TwilioAccount | None = None
    whatsapp: tuple[WhatsAppSender, ...] = ()
    signing_secrets: tuple[Secret, ...] = ()
    bucket: OwnBucket | None = None
    server_headers: Mapping[str, Secret] = msgspec.field(default_factory=dict)


class StoredJson(Struct, frozen=True, kw_only=True):
    """One credential as `STORED_OF` tells it; Postgres writes bytes as ``\\x…``."""

    project_id: UUID
    kind: str
    name: str
    box: str
    created_at: datetime


class _Stored(Struct, frozen=True, kw_only=True):
    project_id: ProjectId
    kind: str
    name: str
    box: bytes
    created_at: datetime

    @property
    def purpose(self) -> str:
        return purpose(self.kind, self.name)


def purpose(kind: str, name: str) -> str:
    """What a credential's box is for: its kind, and the vendor, account or host that it is for."""
    return f"credential/{kind}/{name}"


def boxed_tokens(tokens: TwilioTokens) -> Secret:
    """A Twilio account's tokens as they are encrypted."""
    return Secret(msgspec.json.encode(tokens).decode())


def twilio_account(account_sid: str, secret: Secret) -> TwilioAccount:
    """The account whose tokens `boxed_tokens` made one secret of."""
    tokens = msgspec.json.decode(secret.reveal(), type=TwilioTokens)
    both = (tokens.auth_token, tokens.secondary_auth_token)
    return TwilioAccount(account_sid=account_sid, auth_tokens=tuple(Secret(token) for token in both if token))


def boxed_sender(secrets: WhatsAppSecrets) -> Secret:
    """A WhatsApp sender's secrets as they are encrypted."""
    return Secret(msgspec.json.encode(secrets).decode())


def whatsapp_sender(phone_number_id: str, secret: Secret) -> WhatsAppSender:
    """The sender whose secrets `boxed_sender` made one secret of."""
    held = msgspec.json.decode(secret.reveal(), type=WhatsAppSecrets)
    return WhatsAppSender(
        phone_number_id=phone_number_id,
        access_token=Secret(held.access_token),
        app_secrets=tuple(Secret(one) for one in (held.app_secret, held.secondary_app_secret) if one),
        verify_token=Secret(held.verify_token),
    )


class Wallets:
    """The wallets of all projects. ``clock`` gives monotonic seconds."""

    def __init__(self, pool: Pool, vault: Vault, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._vault = vault
        self._clock = clock
        self._known: OrderedDict[ProjectId, tuple[_Stored, ...]] = OrderedDict()
        self._accounts: OrderedDict[str, tuple[tuple[_Stored, ...], float]] = OrderedDict()
        self._used: set[tuple[ProjectId, str, str]] = set()

    async def open(self, project_id: ProjectId, connection: Connection | None = None) -> Wallet:
        """The project's credentials as they stand. ``connection`` is one of the system login that the caller holds.

        Raises `CannotDecrypt`, and what the database raises.
        """
        (stored,) = (await self._read([project_id], connection)).values()
        self._remember(project_id, stored)
        return await _opened(stored, lambda one: self._vault.decrypt(project_id, one.purpose, one.box, connection))

    async def open_read(self, project_id: ProjectId, read: Iterable[StoredJson]) -> Wallet:
        """`open` for who has just read what is stored. Raises `CannotDecrypt`, and what the database raises."""
        stored = tuple(
            _stored(one.project_id, one.kind, one.name, bytes.fromhex(one.box.removeprefix("\\x")), one.created_at)
            for one in read
        )
        self._remember(project_id, stored)
        return await _opened(stored, lambda one: self._vault.decrypt(project_id, one.purpose, one.box))

    async def recall(self, project_id: ProjectId) -> Wallet:
        """The project's credentials as they were last known; Postgres is not asked. Raises `CannotDecrypt`."""

        async def recalled(one: _Stored) -> Secret:
            return self._vault.recall(project_id, one.purpose, one.box)

        return await _opened(self._known.get(project_id, ()), recalled)

    async def learn(self, connection: Connection, project_ids: Collection[ProjectId]) -> None:
        """Brings what is remembered up to date, and forgets every other project."""
        read = await self._read(project_ids, connection)
        self._known = OrderedDict(list(read.items())[:REMEMBERED])
        await self._vault.learn(connection, [project_id for project_id, stored in read.items() if stored])

    async def vendors(self, project_id: ProjectId) -> list[str]:
        """The vendors for which the project has a key of its own."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "select name from credentials where project_id = %s and kind = 'vendor'",
                (ids.parsed(ids.PROJECT, project_id),),
            )
            return [name for (name,) in await cursor.fetchall()]

    async def holders(self, account_sid: str) -> list[tuple[ProjectId, TwilioAccount]]:
        """The projects that hold a Twilio account, each with its own word on the tokens: proof comes from a signature.

        Read every `REMEMBER_S`; as last known while Postgres is away.
        """
        held: list[tuple[ProjectId, TwilioAccount]] = []
        for one in await self._holding(account_sid):
            try:
                secret = await self._vault.decrypt(one.project_id, one.purpose, one.box)
            except CannotDecrypt as error:
                # One project's broken box must not stop the calls of others: it proves nothing until it is stored anew.
                log.error("credential.unreadable", project_id=one.project_id, kind=one.kind, error=str(error))
            else:
                held.append((one.project_id, twilio_account(account_sid, secret)))
        return held

    def used(self, project_id: ProjectId, kind: str, names: Iterable[str]) -> None:
        """Notes that credentials were used; `stamp` writes it down."""
        if len(self._used) < REMEMBERED:
            self._used |= {(project_id, kind, name) for name in names}

    async def stamp(self) -> None:
        """Writes down what was used since the last time."""
        used, self._used = sorted(self._used), set()
        if not used:
            return
        projects = [ids.parsed(ids.PROJECT, project_id) for project_id, _, _ in used]
        async with self._pool.connection() as connection:
            await connection.execute(_STAMP, (projects, [kind for _, kind, _ in used], [name for *_, name in used]))

    def forget(self, project_id: ProjectId) -> None:
        """Drops what is remembered of a project whose credentials have changed here."""
        self._known.pop(project_id, None)
        self._accounts.clear()

    async def _holding(self, account_sid: str) -> tuple[_Stored, ...]:
        known = self._accounts.get(account_sid)
        if known is not None and known[1] > self._clock():
            return known[0]
        asked_s = self._clock()
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_OF_ACCOUNT, (account_sid, HOLDERS))
                stored = tuple(_stored(*row) for row in await cursor.fetchall())
        except failures.FAILURES as error:
            if not failures.is_away(error):
                raise
            return known[0] if known is not None else self._remembered_holders(account_sid)
        self._accounts.pop(account_sid, None)
        while len(self._accounts) >= REMEMBERED:
            self._accounts.popitem(last=False)
        self._accounts[account_sid] = stored, asked_s + REMEMBER_S
        return stored

    def _remembered_holders(self, account_sid: str) -> tuple[_Stored, ...]:
        every = (one for stored in self._known.values() for one in stored)
        return tuple(one for one in every if (one.kind, one.name) == (TWILIO, account_sid))

    async def _read(
        self, project_ids: Collection[ProjectId], connection: Connection | None
    ) -> dict[ProjectId, tuple[_Stored, ...]]:
        projects = {"projects": [ids.parsed(ids.PROJECT, project_id) for project_id in project_ids]}
        async with self._vault.borrowed(connection) as lent:
            rows = await (await lent.execute(_OF_PROJECTS, projects)).fetchall()
        found: dict[ProjectId, list[_Stored]] = {project_id: [] for project_id in project_ids}
        for row in rows:
            one = _stored(*row)
            found[one.project_id].append(one)
        return {
            project_id: tuple(sorted(stored, key=lambda one: one.created_at, reverse=True))
            for project_id, stored in found.items()
        }

    def _remember(self, project_id: ProjectId, stored: tuple[_Stored, ...]) -> None:
        self._known[project_id] = stored
        self._known.move_to_end(project_id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _stored(project: UUID, kind: str, name: str, box: bytes, created_at: datetime) -> _Stored:
    project_id = ProjectId(ids.written(ids.PROJECT, project))
    return _Stored(project_id=project_id, kind=kind, name=name, box=bytes(box), created_at=created_at)


async def _opened(stored: Iterable[_Stored], decrypt: Callable[[_Stored], Awaitable[Secret]]) -> Wallet:
    vendor_keys: dict[str, Secret] = {}
    server_headers: dict[str, Secret] = {}
    signing_secrets: list[Secret] = []
    account: TwilioAccount | None = None
    bucket: OwnBucket | None = None
    senders: list[WhatsAppSender] = []
    for one in stored:
        secret = await decrypt(one)
        if one.kind == VENDOR:
            vendor_keys[one.name] = secret
        elif one.kind == SIGNING:
            signing_secrets.append(secret)
        elif one.kind == BUCKET:
            bucket = msgspec.json.decode(secret.reveal(), type=OwnBucket)
        elif one.kind == SERVER:
            server_headers[one.name] = secret
        elif one.kind == WHATSAPP:
            senders.append(whatsapp_sender(one.name, secret))
        else:
            account = twilio_account(one.name, secret)
    return Wallet(
        vendor_keys=vendor_keys,
        twilio=account,
        whatsapp=tuple(senders),
        signing_secrets=tuple(signing_secrets),
        bucket=bucket,
        server_headers=server_headers,
    )
