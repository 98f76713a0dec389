"""Under which id the carrier has a call that we asked it for: learnt once, whoever tells it first.

The carrier's answer may be lost, and its webhooks, which carry our id, may come before it.
"""

from collections.abc import Sequence

from turncall_control.calls.ledger import Connection, Ledger
from turncall_proto import ids
from turncall_runtime import logs

log = logs.logger(__name__)


async def learn(connection: Connection, call: Ledger, provider_call_id: str, *, is_found: bool = False) -> bool:
    """Whether the carrier's call is this locked one of ours; noted if its id was not known yet.

    ``is_found``: it was picked out of the carrier's list, so that whoever brings our id with another one knows better.
    False means that the carrier placed two calls for one, or that somebody else's bears our id: it should be ended.
    """
    if call.provider_call_id == provider_call_id:
        return True
    row = ids.parsed(ids.CALL, call.call_id)
    cursor = await connection.execute(
        "update calls c set provider_call_id = %s where c.id = %s and c.direction = 'outbound' and"
        " (c.provider_call_id is null or (not %s and exists (select from dials where call_id = c.id and is_found)))",
        (provider_call_id, row, is_found),
    )
    if not cursor.rowcount:
        log.error("call.doubled", call_id=call.call_id, known=call.provider_call_id, other=provider_call_id)
        return False
    await connection.execute("update dials set is_found = %s where call_id = %s", (is_found, row))
    return True


async def unclaimed(connection: Connection, call: Ledger, provider_call_ids: Sequence[str]) -> list[str]:
    """Those of the carrier's ids under which no call of ours is known, in their order."""
    cursor = await connection.execute(
        "select provider_call_id from calls where provider = %s and account = %s and provider_call_id = any(%s)",
        (call.provider, call.account, list(provider_call_ids)),
    )
    claimed = {provider_call_id for (provider_call_id,) in await cursor.fetchall()}
    return [known for known in provider_call_ids if known not in claimed]
