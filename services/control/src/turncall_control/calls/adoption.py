"""Rows for calls that were answered while Postgres was away."""

from collections.abc import Mapping

from turncall_control.calls.ledger import Connection
from turncall_proto import ids
from turncall_proto.events import CallInitializing


async def adopt(connection: Connection, accounts: Mapping[str, str], fact: CallInitializing) -> None:
    """Makes the call's row from its first fact; a call that has one stays as it is.

    ``accounts`` are ours at the carriers, by name; a fact without an agent or of a carrier that is not ours makes none.
    """
    if fact.agent_id is None or fact.version_id is None or fact.provider not in accounts:
        return
    await connection.execute(
        "insert into calls (id, project_id, agent_id, version_id, number_id, channel, direction, from_number,"
        " to_number, provider, account, provider_call_id, status, created_at)"
        " select %s, %s, %s, %s, (select id from numbers where carrier = %s and e164 = %s),"
        " %s, %s, %s, %s, %s, %s, %s, 'initiated', %s on conflict do nothing",
        (
            ids.parsed(ids.CALL, fact.call_id),
            ids.parsed(ids.PROJECT, fact.project_id),
            ids.parsed(ids.AGENT, fact.agent_id),
            ids.parsed(ids.VERSION, fact.version_id),
            fact.provider,
            fact.to_number,
            fact.channel,
            fact.direction,
            fact.from_number,
            fact.to_number,
            fact.provider,
            accounts[fact.provider],
            fact.provider_call_id,
            fact.at,
        ),
    )
