"""From the stream to rows: each fact once in effect, however often and in whatever order it is delivered."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from turncall_bus.bus import Bus, Delivered, Subscription
from turncall_control.calls import adoption, erasing, ledger, news
from turncall_control.calls.facts import Fact
from turncall_control.calls.ledger import Appended, Connection
from turncall_control.calls.settlement import conclude
from turncall_control.db.engine import Pool
from turncall_proto.codec import UnknownEvent, decode_event
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.subjects import ALL_CALL_EVENTS, PROJECTOR, TC_CALLS

AT_ONCE: Final = 512
"""Facts of one transaction at most: what each call of a batch costs is shared by so many."""


class NoSuchCall(Exception):
    """Facts came for calls that have no row: they are delivered again, and parked if no row ever comes."""

    def __init__(self, call_ids: Iterable[CallId]) -> None:
        super().__init__(f"no row for {', '.join(sorted(call_ids))}; the facts will be delivered again")


async def record(connection: Connection, facts: Sequence[Fact]) -> Appended:
    """Stores facts of any calls in the caller's transaction, and the last word where they complete a call.

    Locks the calls' rows. Facts that are stored already change nothing; facts of calls without a row are left out, and
    so is their call from the answer. Publish the answer with `news.publish` after the commit.
    """
    ledgers = await ledger.lock(connection, (fact.event.call_id for fact in facts))
    known = [fact for fact in facts if fact.event.call_id in ledgers]
    return await conclude(connection, await ledger.append(connection, ledgers, known), datetime.now(UTC))


class Projector:
    """The consumer of every worker's facts, and of control's own that could not be stored at once.

    ``account`` is the installation's at its carrier, empty when it has none.
    """

    def __init__(self, pool: Pool, bus: Bus, registry: CollectorRegistry, account: str) -> None:
        self._account = account
        self._pool = pool
        self._bus = bus
        self._delivered = Counter(
            "turncall_facts_delivered", "Facts taken from the stream, repeats too.", registry=registry
        )
        self._stored = Counter("turncall_facts_stored", "Facts that became rows.", registry=registry)
        self._unknown = Counter("turncall_facts_unknown", "Facts with a tag of a newer release.", registry=registry)

    async def start(self) -> Subscription:
        """Consumes until the subscription is closed; every replica's projector shares one durable consumer."""
        return await self._bus.consume(
            TC_CALLS.name, PROJECTOR, self.project, subject=ALL_CALL_EVENTS, batch=AT_ONCE, reads_ahead=True
        )

    async def project(self, batch: Sequence[Delivered]) -> None:
        """Stores a batch in one transaction. A replay stores nothing, folds nothing and tells nobody.

        Raises `MalformedMessage`, and `NoSuchCall` after the facts of all other calls were stored: the bus then brings
        the messages one by one.
        """
        stated = [Fact(event=decode_event(message.data), data=message.data) for message in batch]
        stated.sort(key=lambda fact: (fact.event.call_id, fact.event.epoch, fact.event.seq))
        async with self._pool.connection() as connection, connection.transaction():
            facts = await adoption.adopted(connection, self._account, stated)
            appended = await record(connection, facts)
        self._delivered.inc(len(batch))
        self._stored.inc(sum(len(stored) for stored in appended.facts.values()))
        self._unknown.inc(sum(isinstance(fact.event, UnknownEvent) for fact in facts))
        await news.publish(self._bus, appended)
        erased = await erasing.purged(self._pool, self._bus, _without_row(stated, appended))
        if strangers := {call_id for _, call_id in _without_row(facts, appended)} - erased:
            raise NoSuchCall(strangers)


def _without_row(facts: Iterable[Fact], appended: Appended) -> set[tuple[ProjectId, CallId]]:
    events = (fact.event for fact in facts)
    return {(event.project_id, event.call_id) for event in events if event.call_id not in appended.ledgers}
