"""Making client tokens, using one up, and forgetting those whose time is over."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from turncall_control.auth import Caller, Visit
from turncall_control.browser.model import ClientTokenRow
from turncall_control.browser.schemas import ClientTokenMade, ClientTokenNew
from turncall_control.calls.ledger import Connection
from turncall_control.db.engine import Pool
from turncall_control.errors import Conflict, Forbidden
from turncall_control.keyring import hashed
from turncall_control.visitors import new_token
from turncall_proto import ids
from turncall_proto.ids import CallId
from turncall_proto.webrtc import IceServer
from turncall_runtime.secret import Secret

SWEEP_EVERY_S: Final = 60.0
KEPT: Final = timedelta(hours=5)
"""Longer than any call: a page goes on with its call by the token that opened it."""


class OriginRefused(Forbidden):
    """The page does not lie where the project lets its agents be called from."""

    name, title = "origin-not-allowed", "Calls are not allowed from this page's origin"


class TokenUsed(Conflict):
    """The token has opened its call already, at the same moment, for another page."""

    name, title = "token-used", "The token has opened its call already"


async def make(
    session: AsyncSession,
    caller: Caller,
    pepper: Secret,
    wanted: ClientTokenNew,
    ice_servers: Callable[[CallId], tuple[IceServer, ...]],
) -> ClientTokenMade:
    """A token for one call, which was checked."""
    call_id = CallId(ids.mint(ids.CALL))
    token = new_token(ids.parsed(ids.CALL, call_id))
    visit = Visit(
        call_id=call_id,
        agent_id=wanted.agent_id,
        version_id=wanted.version_id,
        variables=wanted.variables,
        metadata=wanted.metadata,
        origins=wanted.origins,
        routing=msgspec.to_builtins(wanted.routing),
        fallback_agent_id=wanted.fallback_agent_id,
    )
    expires_at = datetime.now(UTC) + timedelta(seconds=wanted.expires_in_s)
    session.add(
        ClientTokenRow(
            id=call_id,
            project_id=caller.project_id,
            key_id=caller.key_id,
            hash=hashed(token.reveal(), pepper),
            wanted=msgspec.to_builtins(visit),
            max_duration_s=wanted.max_duration_s,
            expires_at=expires_at,
        )
    )
    await session.flush()
    return ClientTokenMade(
        token=token.reveal(), call_id=call_id, expires_at=expires_at, ice_servers=ice_servers(call_id)
    )


async def use_up(connection: Connection, call_id: CallId) -> None:
    """The token of this call opens it now. Raises `TokenUsed` when it was used or has expired."""
    cursor = await connection.execute(
        "update client_tokens set used_at = now() where id = %s and used_at is null and expires_at > now()",
        (ids.parsed(ids.CALL, call_id),),
    )
    if cursor.rowcount != 1:
        raise TokenUsed


async def sweep(pool: Pool) -> None:
    """Deletes tokens that open nothing any more. Replicas may do this at once."""
    async with pool.connection() as connection:
        await connection.execute("delete from client_tokens where expires_at < now() - %s", (KEPT,))


def check_origin(origin: str | None, allowed: tuple[str, ...]) -> None:
    """Raises `OriginRefused` unless the page's origin is among ``allowed``; with none of those any page may call."""
    if allowed and origin not in allowed:
        raise OriginRefused(f"add {origin or 'the origin'} to allowed_origins, or call from one of them")
