"""From a header to a `Caller`: the shape of a key, its hash, and a look-up that forgets within five seconds."""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from msgspec import Struct

from turncall_control.auth import Caller, Role
from turncall_control.db.engine import Pool
from turncall_control.errors import Unauthorised
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId
from turncall_runtime.secret import Secret

REMEMBER_S: Final = 4.0
"""A key revoked on another replica opens this one for as long if the news is lost; the promise is five seconds."""
REMEMBERED_KEYS: Final = 10_000
STAMP_EVERY: Final = timedelta(minutes=1)
"""``last_used_at`` is at most this old while a key is in use."""

_KEY = re.compile(r"tc_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", re.ASCII)
_PREFIX_LENGTH: Final = len("tc_") + 16

_FIND = """
    select k.id, k.project_id, k.role, k.hash, k.expires_at, k.last_used_at
    from api_keys k join projects p on p.id = k.project_id
    where k.prefix = %s and k.revoked_at is null and p.deleted_at is null
"""
_STAMP = """
    update api_keys set last_used_at = now()
    where id = %s and (last_used_at is null or last_used_at < now() - %s)
"""
_LIVES = """
    select 1 from api_keys k join projects p on p.id = k.project_id
    where k.id = %s and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and p.deleted_at is null
"""
_REHASH = "update api_keys set hash = %s where id = %s and hash = %s"


class NewKey(Struct, frozen=True, kw_only=True):
    """A key that has just been made: ``text`` is shown once, the rest is stored."""

    text: Secret
    prefix: str
    hash: bytes


def new_key(pepper: Secret) -> NewKey:
    """A random key: ``tc_<16 hex digits to find it by>_<256 random bits>``."""
    text = f"tc_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"
    return NewKey(text=Secret(text), prefix=text[:_PREFIX_LENGTH], hash=hashed(text, pepper))


def hashed(text: str, pepper: Secret) -> bytes:
    """What is stored of a key: HMAC-SHA256 with the pepper. A key is random: no slow hash is needed."""
    return hmac.digest(pepper.reveal().encode(), text.encode(), sha256)


class _Known(Struct, frozen=True, kw_only=True):
    caller: Caller
    hash: bytes
    expires_at: datetime | None
    until_s: float


class Keyring:
    """The keys seen in the last seconds, and the table behind them. ``clock`` gives monotonic seconds.

    The first of the ``peppers`` hashes; a key that another one hashed is hashed anew when it is looked up.
    """

    def __init__(self, pool: Pool, peppers: Sequence[Secret], clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._newest, *self._older = peppers
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def remembered(self, text: str) -> Caller | None:
        """Whose key this is, as far as this process knows without asking the database."""
        known = self._known.get(text[:_PREFIX_LENGTH])
        if known is None or known.until_s <= self._clock() or not self._opens(known, text):
            return None
        return known.caller

    async def caller(self, text: str) -> Caller:
        """Whose key this is. Raises `Unauthorised` for one that is malformed, unknown, expired or revoked."""
        if not _KEY.fullmatch(text):
            raise Unauthorised
        prefix = text[:_PREFIX_LENGTH]
        known = self._known.get(prefix)
        if known is None or known.until_s <= self._clock():
            known = await self._looked_up(prefix, text)
        if not self._opens(known, text):
            raise Unauthorised
        return known.caller

    def _opens(self, known: _Known, text: str) -> bool:
        is_it = hmac.compare_digest(known.hash, hashed(text, self._newest))
        return is_it and (known.expires_at is None or known.expires_at > datetime.now(UTC))

    async def still_opens(self, key_id: KeyId) -> bool:
        """Whether a key that opened something long is neither revoked nor expired nor of a deleted project."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_LIVES, (ids.parsed(ids.KEY, key_id),))
            return await cursor.fetchone() is not None

    def forget(self, key_id: KeyId) -> None:
        """Drops a key that was revoked here, so that this replica refuses it at once."""
        for prefix in [prefix for prefix, known in self._known.items() if known.caller.key_id == key_id]:
            del self._known[prefix]

    def forget_project(self, project_id: ProjectId) -> None:
        """Drops the keys of a project that was deleted here."""
        for prefix in [prefix for prefix, known in self._known.items() if known.caller.project_id == project_id]:
            del self._known[prefix]

    async def _looked_up(self, prefix: str, text: str) -> _Known:
        asked_s = self._clock()
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND, (prefix,))).fetchone()
            if row is None:
                raise Unauthorised
            key_id, project_id, role, stored, expires_at, last_used_at = row
            stored = bytes(stored)
            current = hashed(text, self._newest)
            if not hmac.compare_digest(stored, current):
                if not any(hmac.compare_digest(stored, hashed(text, pepper)) for pepper in self._older):
                    raise Unauthorised
                await connection.execute(_REHASH, (current, key_id, stored))
            if last_used_at is None or datetime.now(UTC) - last_used_at > STAMP_EVERY:
                await connection.execute(_STAMP, (key_id, STAMP_EVERY))
        known = _Known(
            caller=Caller(
                project_id=ProjectId(ids.written(ids.PROJECT, project_id)),
                key_id=KeyId(ids.written(ids.KEY, key_id)),
                role=Role(role),
            ),
            hash=current,
            expires_at=expires_at,
            until_s=asked_s + REMEMBER_S,
        )
        self._remember(prefix, known)
        return known

    def _remember(self, prefix: str, known: _Known) -> None:
        """The oldest leaves when there are too many: dictionaries keep the order of insertion."""
        self._known.pop(prefix, None)
        while len(self._known) >= REMEMBERED_KEYS:
            del self._known[next(iter(self._known))]
        self._known[prefix] = known
