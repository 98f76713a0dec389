"""Sending what is due: signed, within a deadline, many at once, in order within a call."""

import asyncio
import random
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from prometheus_client import Counter, Histogram

from turncall_control.db import failures
from turncall_control.envelope import CannotDecrypt
from turncall_control.plane import Plane
from turncall_control.projects.signing import signing_secrets
from turncall_control.webhooks import disabling, queue
from turncall_control.webhooks.attempts import LONGEST_PAUSE_S, Verdict, next_try, verdict
from turncall_control.webhooks.body import body_of
from turncall_control.webhooks.model import DeliveryStatus, DisabledReason
from turncall_control.webhooks.queue import PER_TARGET, Taken, Try
from turncall_control.webhooks.signing import purpose
from turncall_egress import EgressError
from turncall_egress.signing import signed_headers
from turncall_proto import ids
from turncall_proto.ids import ProjectId
from turncall_runtime import logs
from turncall_runtime.metrics import REQUEST_BUCKETS_S

AT_ONCE: Final = 50
LOOK_EVERY_S: Final = 0.25
ANSWER_BYTES: Final = 1024
"""What is read, and kept in the log, of an answer."""
LEASE_MARGIN_S: Final = 5.0
"""A lease outlives the longest attempt by this, for reading before it and writing after it."""
LAST_SENDS_WITHIN_S: Final = 5.0
"""How long a process that ends waits for its attempts; those it gives up are made again by another one."""
TEST: Final = "webhook.test"

log = logs.logger(__name__)


class Sender:
    """One process's share of sending. ``attend`` takes what is due and returns; the attempts go on in tasks of it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._config = plane.config
        self._lease_s = plane.config.webhook_timeout_s + LEASE_MARGIN_S
        self._sending: dict[asyncio.Task[None], Taken] = {}
        self._is_freed = asyncio.Event()
        self._tried = Counter(
            "turncall_webhook_attempts", "Attempts to deliver an event.", ("outcome",), registry=plane.metrics
        )
        self._seconds = Histogram(
            "turncall_webhook_seconds",
            "How long the users' servers took.",
            buckets=REQUEST_BUCKETS_S,
            registry=plane.metrics,
        )

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Ends what this process is sending when it is left."""
        try:
            yield
        finally:
            if self._sending:
                await asyncio.wait(self._sending, timeout=LAST_SENDS_WITHIN_S)
            for task in [*self._sending]:
                task.cancel()
            if self._sending:
                await asyncio.wait(self._sending)

    async def attend(self) -> None:
        """Takes as many deliveries as there is room for, and begins to send them."""
        while (room := AT_ONCE - len(self._sending)) > 0:
            async with self._plane.database.pool.connection() as connection:
                taken = await queue.take(connection, limit=room, busy=self._busy(), lease_s=self._lease_s)
            for delivery in taken:
                task = asyncio.create_task(self._deliver(delivery), name=f"webhook {delivery.id}")
                self._sending[task] = delivery
                task.add_done_callback(self._sent)
            if not taken:
                return

    async def wait(self, longest_s: float) -> None:
        """Until an attempt has ended, which may have made the next of its call due, or ``longest_s`` are over."""
        self._is_freed.clear()
        try:
            async with asyncio.timeout(longest_s):
                await self._is_freed.wait()
        except TimeoutError:
            return

    def _busy(self) -> set[UUID]:
        tally = Tally(taken.target_id for taken in self._sending.values())
        return {target for target, count in tally.items() if count >= PER_TARGET}

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._is_freed.set()

    async def _deliver(self, taken: Taken) -> None:
        """One attempt and its note. What fails on our side is tried again when the lease is over."""
        try:
            tried, said = await self._attempt(taken)
            await self._note(taken, tried, said)
        except failures.FAILURES as error:
            log.warning("webhook.postponed", delivery=taken.id.hex, error=type(error).__name__)
        except Exception as error:
            log.error("webhook.failed", delivery=taken.id.hex, exc_info=error)

    async def _attempt(self, taken: Taken) -> tuple[Try, Verdict]:
        at, started_s = datetime.now(UTC), time.monotonic()
        if taken.data is None:
            said = Verdict(failure="the call's record was deleted")
            return Try(at=at, duration_ms=0, error=said.failure), said
        try:
            secrets = await self._secrets(taken)
            async with self._plane.database.pool.connection() as connection:
                body = await body_of(connection, taken)
            headers = signed_headers(secrets, ids.written(ids.DELIVERY, taken.id), int(at.timestamp()), body)
            answer = await self._plane.egress.request(
                "POST",
                taken.url,
                body=body,
                headers={**headers, "Content-Type": "application/json"},
                timeout_s=self._config.webhook_timeout_s,
                max_bytes=ANSWER_BYTES,
                is_cut=True,
            )
        except (EgressError, CannotDecrypt) as error:
            said = Verdict(failure=str(error))
            return Try(at=at, duration_ms=_since_ms(started_s), error=str(error)), said
        took_ms = _since_ms(started_s)
        self._seconds.observe(took_ms / 1000)
        text = answer.body.decode("utf-8", "replace").replace("\0", "\ufffd")
        return Try(at=at, duration_ms=took_ms, status=answer.status, answer=text), verdict(answer, datetime.now(UTC))

    async def _secrets(self, taken: Taken) -> list[str]:
        """What the request is signed with: the subscription's secrets, or the project's for an agent's own server."""
        project_id = ProjectId(ids.written(ids.PROJECT, taken.project_id))
        if taken.webhook_id is None:
            wallet = await self._plane.wallets.open(project_id)
            return [secret.reveal() for secret in signing_secrets(self._config.key_pepper, project_id, wallet)]
        wanted = purpose(ids.written(ids.WEBHOOK, taken.webhook_id))
        boxes = [box for box in (taken.secret, taken.previous_secret) if box is not None]
        return [(await self._plane.vault.decrypt(project_id, wanted, bytes(box))).reveal() for box in boxes]

    async def _note(self, taken: Taken, tried: Try, said: Verdict) -> None:
        now = datetime.now(UTC)
        due_at = None
        status, failure = DeliveryStatus.DELIVERED, None
        if said.failure:
            is_worth_more = taken.data is not None and taken.type != TEST
            retries_s = self._config.webhook_retries_s if is_worth_more else ()
            due_at = next_try(retries_s, taken.attempts + 1, said, now, random.random())
            status, failure = (DeliveryStatus.FAILED if due_at is None else DeliveryStatus.PENDING), said.failure
        async with self._plane.database.pool.connection() as connection:
            async with connection.transaction():
                is_ours = await queue.finish(connection, taken, tried, status=status, due_at=due_at, failure=failure)
                if is_ours and taken.webhook_id is not None and taken.type != TEST:
                    await self._consequences(connection, taken, tried, said, status)
            if is_ours and due_at is None:
                await queue.wake_next(connection, taken)
        self._tried.labels(status.value).inc()

    async def _consequences(
        self, connection: queue.Connection, taken: Taken, tried: Try, said: Verdict, status: DeliveryStatus
    ) -> None:
        """What an attempt means for the whole subscription."""
        if status is DeliveryStatus.DELIVERED:
            await disabling.arrived(connection, taken)
        elif said.is_gone:
            await disabling.disable(connection, taken, DisabledReason.GONE)
        elif status is DeliveryStatus.FAILED and taken.data is not None:
            if not await disabling.has_arrived(connection, taken, since=taken.first_tried_at or tried.at):
                await disabling.disable(connection, taken, DisabledReason.FAILING)
        elif said.is_busy and said.retry_after_s:
            pause_s = min(said.retry_after_s, LONGEST_PAUSE_S)
            await disabling.pause(connection, taken, datetime.now(UTC) + timedelta(seconds=pause_s))


def _since_ms(started_s: float) -> int:
    return round((time.monotonic() - started_s) * 1000)
