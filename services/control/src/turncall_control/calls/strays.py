"""Live calls at a carrier that no row knows: their callers hear nobody, and nobody would ever end them.

It takes a lost webhook answer or a restored backup to make one. The carrier is told to ask again what to do with it, as
if it rang: so it gets a row and an agent, or is ended like any other call.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from turncall_control.carriers.base import Carrier, CarrierCall, CarrierError, Gone, NotInProgress
from turncall_control.numbers.service import urls
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime import logs

LOOK_EVERY_S: Final = 60.0
STRAY_AFTER: Final = timedelta(minutes=5)
"""Facts of a call that was answered without Postgres may take a while to become its row."""

_LOOKING: Final = 7_203_551_066
"""Any number: the replica that looks holds it, so that accounts are asked once."""

log = logs.logger(__name__)


class _Account(Struct, frozen=True, kw_only=True):
    """An account with numbers of ours. ``project_id`` is one of the projects that hold it."""

    project_id: ProjectId
    provider: str
    account: str
    numbers: frozenset[str]


class Strays:
    """Looks for such calls in every account with bound numbers. ``after``: how long a call must have lasted."""

    def __init__(self, plane: Plane, after: timedelta = STRAY_AFTER) -> None:
        self._plane = plane
        self._after = after

    async def attend(self) -> None:
        """One look, by one replica at a time; none while this one is or was cut off from the bus: rows may be on the
        way."""
        if not self._plane.workers.may_judge:
            return
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute("select pg_try_advisory_xact_lock(%s)", (_LOOKING,))
            if await cursor.fetchone() != (True,):
                return
            for account in await self._accounts():
                await self._look_into(account)

    async def _accounts(self) -> list[_Account]:
        async with self._plane.database.pool.connection() as connection:
            cursor = await connection.execute(
                "select min(project_id::text)::uuid, carrier, account, array_agg(e164) from numbers"
                " where configured_at is not null and carrier <> 'whatsapp' group by carrier, account"
            )
            return [
                _Account(
                    project_id=ProjectId(ids.written(ids.PROJECT, project)),
                    provider=provider,
                    account=account,
                    numbers=frozenset(numbers),
                )
                for project, provider, account, numbers in await cursor.fetchall()
            ]

    async def _look_into(self, account: _Account) -> None:
        try:
            carrier = await self._plane.accounts.holding(account.project_id, account.provider, account.account)
            if carrier is None:
                return  # the check of a number tells its owner that the account is gone
            live = await carrier.list_live_calls()
        except CarrierError as error:
            log.warning("strays.carrier_failed", provider=account.provider, error=str(error))
            return
        for stray in await self._unknown(carrier, self._old_enough(live, account.numbers)):
            await self._adopt(carrier, stray)

    def _old_enough(self, live: list[CarrierCall], numbers: frozenset[str]) -> list[CarrierCall]:
        """Calls to our numbers; not those of callers whom the carrier itself connected with somebody."""
        parents = {call.parent for call in live}
        since = datetime.now(UTC) - self._after
        return [
            call
            for call in live
            if call.is_inbound
            and call.to_number in numbers
            and call.provider_call_id not in parents
            and call.started_at is not None
            and call.started_at <= since
        ]

    async def _unknown(self, carrier: Carrier, calls: list[CarrierCall]) -> list[CarrierCall]:
        async with self._plane.database.pool.connection() as connection:
            cursor = await connection.execute(
                "select provider_call_id from calls where provider = %s and provider_call_id = any(%s)",
                (carrier.provider, [call.provider_call_id for call in calls]),
            )
            known = {sid for (sid,) in await cursor.fetchall()}
        return [call for call in calls if call.provider_call_id not in known]

    async def _adopt(self, carrier: Carrier, stray: CarrierCall) -> None:
        log.error("call.stray", provider_call_id=stray.provider_call_id, since=str(stray.started_at))
        try:
            await carrier.redirect_call(
                stray.provider_call_id, urls(self._plane.config.public_url, carrier.provider).voice_url
            )
            outcome = "adopted"
        except (Gone, NotInProgress):
            outcome = "over"
        except CarrierError as error:
            outcome = "failed"
            log.warning("stray.kept", provider_call_id=stray.provider_call_id, error=str(error))
        self._plane.counts.strays.labels(outcome).inc()
