"""Asks carriers to send the texts that are due, each once, and finds out about those whose answer was lost."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from turncall_control.carriers.base import (
    Barred,
    CarrierError,
    LimitReached,
    Messenger,
    NoSuchNumber,
    NotReached,
    OptedOut,
    Template,
    TextOrder,
    Unavailable,
    WindowClosed,
)
from turncall_control.carriers.questions import LOOK_AFTER_S, MOST_REFUSALS, STATUS_RETRIES, Questions, pause_s
from turncall_control.plane import Plane
from turncall_control.texts import optouts, queue, statuses
from turncall_control.texts.model import TextFailure
from turncall_control.texts.queue import Letter
from turncall_runtime import logs

SEND_EVERY_S: Final = 0.25
SWEEP_EVERY_S: Final = 1.0
LOOK_AGAIN_S: Final = 5.0
LOST_AFTER_S: Final = 60.0
"""A text that the carrier does not list by then was never taken; it is asked for once more, and then given up."""
CLOCKS_APART_S: Final = 5.0
"""How far the carrier's clock may be behind ours, and how coarse its times are."""
MOST_TRIES_WHEN_LOST: Final = 2

log = logs.logger(__name__)


class Sender:
    """One process's share of sending. Its ``questions`` are entered while it works."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.questions = Questions("text.broke")

    async def attend(self) -> None:
        """Takes up texts that are due, and asks for them. Returns without waiting for the carriers."""
        if not self.questions.has_room:
            return
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            letters = await queue.claim(connection)
        for letter in letters:
            self.questions.put(self._ask(letter), f"text {letter.text_id}")

    async def _ask(self, letter: Letter) -> None:
        if letter.is_out or letter.is_shut:
            await self._fail(letter, TextFailure.OPTED_OUT if letter.is_out else TextFailure.WINDOW_CLOSED)
            return
        try:
            messenger = await _messenger(self._plane, letter)
            if messenger is None:
                await self._fail(letter, TextFailure.NO_ACCOUNT)
                return
            taken = await messenger.send_text(self._order(letter))
        except CarrierError as error:
            await self._refused(letter, error)
            return
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            await queue.learn(connection, letter, taken)

    def _order(self, letter: Letter) -> TextOrder:
        url = f"{self._plane.config.public_url}/webhooks/{letter.provider}/sms/status/{letter.text_id}"
        return TextOrder(
            from_number=letter.from_number,
            to_number=letter.to_number,
            body=letter.body,
            status_url=f"{url}#{STATUS_RETRIES}",
            reference=letter.text_id,
            template=None if letter.template is None else msgspec.convert(letter.template, Template),
        )

    async def _refused(self, letter: Letter, error: CarrierError) -> None:
        log.warning("text.refused", text_id=letter.text_id, tries=letter.tries, error=str(error), code=error.code)
        match error:
            case NotReached():
                await self._put_off(letter)
            case LimitReached() if letter.tries < MOST_REFUSALS:
                await self._put_off(letter)
            case Unavailable():
                async with self._plane.database.pool.connection() as connection:
                    await queue.look_soon(connection, letter, LOOK_AFTER_S)
            case _:
                await self._fail(letter, failure_of(error), error.code)

    async def _put_off(self, letter: Letter) -> None:
        async with self._plane.database.pool.connection() as connection:
            await queue.put_off(connection, letter, pause_s(letter.tries))

    async def _fail(self, letter: Letter, failure: TextFailure, code: int | None = None) -> None:
        async with self._plane.database.pool.connection() as connection, connection.transaction():
            if failure is TextFailure.OPTED_OUT and not letter.is_out:
                await optouts.put_out(connection, letter.project_id, letter.number_id, letter.to_number)
            await queue.fail(connection, letter, failure, code)


def failure_of(error: CarrierError) -> TextFailure:
    """The reason that a carrier's refusal stands for."""
    match error:
        case OptedOut():
            return TextFailure.OPTED_OUT
        case WindowClosed():
            return TextFailure.WINDOW_CLOSED
        case NoSuchNumber():
            return TextFailure.INVALID_NUMBER
        case Barred():
            return TextFailure.NOT_ALLOWED
        case LimitReached():
            return TextFailure.CARRIER_LIMIT
        case _:
            return TextFailure.REFUSED


async def find_lost(plane: Plane) -> None:
    """Looks among the carrier's messages for texts whose answer was lost. Replicas may do this at once."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        letters = await queue.unanswered(connection, LOOK_AGAIN_S)
    await _about_each(plane, letters, _search)


async def _about_each(
    plane: Plane, letters: Iterable[Letter], ask: Callable[[Plane, Messenger, Letter], Awaitable[None]]
) -> None:
    for letter in letters:
        try:
            messenger = await _messenger(plane, letter)
            if messenger is None:
                log.error("text.helpless", text_id=letter.text_id, provider=letter.provider)
            else:
                await ask(plane, messenger, letter)
        except CarrierError as error:
            log.warning("text.carrier_failed", text_id=letter.text_id, error=str(error))


async def _search(plane: Plane, messenger: Messenger, letter: Letter) -> None:
    since = datetime.now(UTC) - timedelta(seconds=letter.asked_s + CLOCKS_APART_S)
    listed = await messenger.sent_texts(letter.from_number, letter.to_number, since)
    # Without a list nobody knows whether the carrier took it: it is not asked for again.
    most_tries = 1 if listed is None else MOST_TRIES_WHEN_LOST
    ours = [sent.provider_message_id for sent in listed or () if sent.body == letter.body]
    async with plane.database.pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select provider_message_id from texts where provider_message_id = any(%s)", (ours,)
        )
        claimed = {taken for (taken,) in await cursor.fetchall()}
        free = [sid for sid in ours if sid not in claimed]
        if free:
            # The oldest: nothing else was asked for between these numbers since.
            log.warning("text.found", text_id=letter.text_id)
            await queue.learn(connection, letter, free[-1])
        elif letter.asked_s >= LOST_AFTER_S and letter.tries < most_tries:
            log.warning("text.never_taken", text_id=letter.text_id)
            await queue.put_off(connection, letter, 0.0)
        elif letter.asked_s >= LOST_AFTER_S:
            log.error("text.lost", text_id=letter.text_id)
            await queue.fail(connection, letter, TextFailure.LOST)


async def follow(plane: Plane) -> None:
    """Asks the carrier about texts of which no callback says that they have arrived. Replicas may do this at once."""
    async with plane.database.pool.connection() as connection, connection.transaction():
        letters = await queue.undelivered(connection)
    await _about_each(plane, letters, _look)


async def _look(plane: Plane, messenger: Messenger, letter: Letter) -> None:
    assert letter.provider_message_id is not None  # what the carrier has, it has under an id
    standing = await messenger.fetch_text(letter.provider_message_id)
    async with plane.database.pool.connection() as connection, connection.transaction():
        if standing is None:
            await queue.look_no_more(connection, letter)
        elif await statuses.note(connection, letter.id, letter.provider_message_id, standing.status, standing.code):
            log.warning("text.not_called_back", text_id=letter.text_id, status=standing.status)


async def _messenger(plane: Plane, letter: Letter) -> Messenger | None:
    return await plane.accounts.messenger(letter.project, letter.provider, letter.account)
