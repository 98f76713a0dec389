"""Asks carriers for the calls that are due, each once."""

from datetime import UTC, datetime, timedelta

from turncall_control.calls import identity, ledger, news
from turncall_control.carriers import whatsapp
from turncall_control.carriers.base import (
    Barred,
    CallOrder,
    CarrierError,
    LimitReached,
    NoSuchNumber,
    NotReached,
    Unavailable,
)
from turncall_control.carriers.questions import LOOK_AFTER_S, MOST_REFUSALS, STATUS_RETRIES, Questions, pause_s
from turncall_control.dials import calling, queue
from turncall_control.dials.queue import Dial
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.call import EndedReason
from turncall_runtime import logs

log = logs.logger(__name__)


class Dialler:
    """One process's share of dialling. Its ``questions`` are entered while it works."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.questions = Questions("dial.broke")

    async def attend(self) -> None:
        """Takes up calls that are due, and asks for them. Returns without waiting for the carriers."""
        if not self.questions.has_room:
            return
        for dial in await queue.claim(self._plane, self._plane.config.dial_rate_per_s):
            self.questions.put(self._ask(dial), f"dial {dial.call.call_id}")

    async def _ask(self, dial: Dial) -> None:
        plane, call = self._plane, dial.call
        try:
            placed = await self._place(dial)
            if placed is None:
                await self._failed(dial, EndedReason.TELEPHONY_FAILED, "its account is not among the credentials")
                return
        except CarrierError as error:
            await self._refused(dial, error)
            return
        async with plane.database.pool.connection() as connection, connection.transaction():
            locked = await ledger.lock(connection, [call.call_id])
            if locked:
                await identity.learn(connection, locked[call.call_id], placed)
        log.info("dial.placed", call_id=call.call_id, provider_call_id=placed)

    async def _place(self, dial: Dial) -> str | None:
        """The carrier's id of the call; None without an account to place it from. Raises a `CarrierError`."""
        plane, call = self._plane, dial.call
        if call.provider == whatsapp.PROVIDER:
            line = await plane.accounts.whatsapp_line(call.project_id, call.account)
            return None if line is None else await calling.place(plane, line, dial)
        carrier = await plane.accounts.holding(call.project_id, call.provider, call.account)
        return None if carrier is None else await carrier.place_call(_order(plane, dial))

    async def _refused(self, dial: Dial, error: CarrierError) -> None:
        log.warning("dial.refused", call_id=dial.call.call_id, tries=dial.tries, error=str(error), code=error.code)
        match error:
            case NotReached():
                await self._put_off(dial)
            case LimitReached() if dial.tries < MOST_REFUSALS:
                await self._put_off(dial)
            case LimitReached():
                await self._failed(dial, EndedReason.CARRIER_LIMIT, str(error), error)
            case NoSuchNumber():
                await self._failed(dial, EndedReason.INVALID_NUMBER, str(error), error)
            case Barred():
                await self._failed(dial, EndedReason.BLOCKED, str(error), error)
            case Unavailable():
                await self._look_soon(dial)
            case _:
                await self._failed(dial, EndedReason.TELEPHONY_FAILED, str(error), error)

    async def _put_off(self, dial: Dial) -> None:
        due_at = datetime.now(UTC) + timedelta(seconds=pause_s(dial.tries))
        async with self._plane.database.pool.connection() as connection:
            await queue.put_off(connection, dial.call.call_id, due_at)

    async def _look_soon(self, dial: Dial) -> None:
        """Nobody knows whether the carrier placed the call: it is not asked again, but about it."""
        async with self._plane.database.pool.connection() as connection:
            await connection.execute(
                "update dials set look_at = now() + %s where call_id = %s and state = 'asked'",
                (timedelta(seconds=LOOK_AFTER_S), ids.parsed(ids.CALL, dial.call.call_id)),
            )
        self._plane.counts.dials_unknown.inc()

    async def _failed(self, dial: Dial, reason: EndedReason, detail: str, refused: CarrierError | None = None) -> None:
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            locked = (await ledger.lock(connection, [dial.call.call_id])).get(dial.call.call_id)
            if locked is None or locked.provider_call_id is not None:
                return
            appended = await queue.fail(connection, locked, reason, detail, refused)
        await news.publish(self._plane.bus, appended)


def _order(plane: Plane, dial: Dial) -> CallOrder:
    voice = f"{plane.config.public_url}/webhooks/{dial.call.provider}/voice"
    return CallOrder(
        from_number=dial.from_number,
        to_number=dial.to_number,
        answer_url=f"{voice}/outbound/{dial.call.call_id}",
        fallback_url=f"{voice}/fallback",
        status_url=f"{voice}/status/{dial.call.call_id}#{STATUS_RETRIES}",
        ring_timeout_s=dial.ring_timeout_s,
        detects=dial.detects,
    )
