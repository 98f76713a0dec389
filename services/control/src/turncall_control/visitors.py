"""Client tokens: what a web page shows instead of a key. One opens one call, which its project has decided about.

The token's id is the call's, so that whoever made it knows the call before the page makes it, and no token makes two.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.rows import class_row

from turncall_control.auth import Caller, Role, Visit
from turncall_control.db.engine import Pool
from turncall_control.errors import Unauthorised
from turncall_control.keyring import hashed
from turncall_proto import ids
from turncall_proto.ids import KeyId, ProjectId
from turncall_runtime.secret import Secret

_TOKEN: Final = re.compile(r"tcw_([0-9a-f]{32})_[A-Za-z0-9_-]{43}", re.ASCII)
_FIND: Final = """
    select t.project_id, t.key_id, t.hash, t.wanted, t.expires_at, t.used_at is not null as is_used
    from client_tokens t join projects p on p.id = t.project_id
    where t.id = %s and p.deleted_at is null
"""


class _Row(Struct, frozen=True, kw_only=True):
    project_id: UUID
    key_id: UUID
    hash: bytes
    wanted: dict[str, Any]
    expires_at: datetime
    is_used: bool


def is_token(text: str) -> bool:
    """Whether this has the shape of a client token."""
    return _TOKEN.fullmatch(text) is not None


def new_token(call: UUID) -> Secret:
    """A random token for this call: ``tcw_<the call, to find it by>_<256 random bits>``."""
    return Secret(f"tcw_{call.hex}_{secrets.token_urlsafe(32)}")


async def visitor(pool: Pool, peppers: Sequence[Secret], text: str) -> Caller:
    """Whose token this is. Raises `Unauthorised` for one that is malformed, unknown, or expired before it was used."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise Unauthorised
    call = UUID(found[1])
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(_Row)) as cursor:
        row = await (await cursor.execute(_FIND, (call,))).fetchone()
    if row is None or not any(hmac.compare_digest(bytes(row.hash), hashed(text, pepper)) for pepper in peppers):
        raise Unauthorised
    if not row.is_used and row.expires_at <= datetime.now(UTC):
        raise Unauthorised
    visit = msgspec.convert(row.wanted | {"call_id": ids.written(ids.CALL, call), "is_used": row.is_used}, Visit)
    return Caller(
        project_id=ProjectId(ids.written(ids.PROJECT, row.project_id)),
        key_id=KeyId(ids.written(ids.KEY, row.key_id)),
        role=Role.DEVELOPER,
        visit=visit,
    )
