"""From a fact that is being stored to deliveries of it, within the statement that stores it.

The subscriptions are read by that statement itself, so one that was made, changed or deleted counts from its commit on,
and nothing is remembered that could be out of date.
"""

from typing import Final, LiteralString

from turncall_proto.events import PUBLIC_TAGS

CALL_END: Final = "call-end"
"""What an agent's own server is told of; no subscription gets it."""

EVENT_TYPES: Final = tuple(sorted(PUBLIC_TAGS))
EVENT_TYPES_ARRAY: Final = f"{{{','.join(EVENT_TYPES)}}}"
"""As Postgres writes an array; a list would be turned into this each time."""


def subscribed(agent: LiteralString) -> LiteralString:
    """A part of a ``with``, behind one named ``stored`` with the columns project_id, call_id, call_seq, type and at.

    ``agent`` is an expression for the agent of the call of a stored fact ``e``. Its one parameter is
    `EVENT_TYPES_ARRAY`. A subscription that the platform disabled keeps a log of what it misses, for a redelivery; one
    that its owner disabled does not. Of a call of a test nobody hears.
    """
    return (
        """
    subscribed as (
        insert into webhook_deliveries (project_id, webhook_id, type, at, call_id, call_seq, status, failure)
        select e.project_id, w.id, e.type, e.at, e.call_id, e.call_seq,
               case when w.is_enabled then 'pending' else 'failed' end,
               case when not w.is_enabled then 'the subscription was disabled' end
        from stored e join webhooks w on w.project_id = e.project_id
        where e.type = any(%s::text[]) and (w.is_enabled or w.disabled_reason is not null)
            and (w.event_types = '{}' or e.type = any(w.event_types))
            and (w.agent_id is null or w.agent_id = """
        + agent
        + """)
            and not exists (select from calls t where t.id = e.call_id and t.mocks is not null)
        order by e.call_id, e.call_seq
    )
    """
    )


FAN_OUT: Final[LiteralString] = (
    subscribed("(select c.agent_id from calls c where c.id = e.call_id)")
    + """,
    told_server as (
        insert into webhook_deliveries (project_id, agent_id, url, type, at, call_id, call_seq)
        select e.project_id, c.agent_id, v.config #>> '{server,call_end_url}', 'call-end', e.at, e.call_id, e.call_seq
        from stored e join calls c on c.id = e.call_id join agent_versions v on v.id = c.version_id
        where e.type = 'call.ended' and c.mocks is null and v.config #>> '{server,call_end_url}' is not null
    )
    """
)
"""`subscribed`, and what an agent's own server is told, for facts of calls whose rows were there before."""
