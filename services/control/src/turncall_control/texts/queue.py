"""Texts in the order in which they are to reach a phone, and how far each has come.

Of one number's texts to one phone the next is asked for when the carrier has the one before. The intent to ask is
committed before the carrier is asked: whoever comes after a crash asks what became of it, and does not ask again.
"""

from datetime import timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from turncall_control.carriers.base import Template
from turncall_control.texts.model import TextFailure, TextState
from turncall_control.texts.parts import LONGEST, LONGEST_OF, parted
from turncall_control.texts.window import HAS_WRITTEN
from turncall_proto import ids
from turncall_proto.ids import NumberId, ProjectId, SessionId, TextId

ASKED_WITHIN_S: Final = 15.0
"""Whoever was about to ask has asked by then, and has heard or given up: the carrier's answer has 5 s."""
LOOKS_AFTER_S: Final = (120.0, 600.0, 3600.0, 14_400.0, 43_200.0)
"""When the carrier is asked of a text of which it says nothing more: so long after its last word, then after each look.
Twilio gives a message up after ten hours at most (Twilio, ValidityPeriod); behind the last look it stays as it is."""
AT_ONCE: Final = 20
_RANKS: Final = {state: rank for rank, state in enumerate(TextState)}
_UNDER_WAY: Final = (TextState.ACCEPTED, TextState.SENT)

Connection = AsyncConnection[TupleRow]


class Letter(Struct, frozen=True, kw_only=True):
    """A text that somebody is dealing with. ``tries`` counts this one; ``asked_s``: how long ago it was asked for;
    ``is_out``: the contact wants none; ``is_shut``: the contact has not written for too long."""

    id: UUID
    project_id: UUID
    session_id: UUID
    message_seq: int
    number_id: UUID
    provider: str
    account: str
    from_number: str
    to_number: str
    body: str
    tries: int
    looks: int
    template: dict[str, Any] | None
    provider_message_id: str | None
    asked_s: float
    is_out: bool
    is_shut: bool

    @property
    def text_id(self) -> TextId:
        """As addresses and logs write it."""
        return TextId(ids.written(ids.TEXT, self.id))

    @property
    def project(self) -> ProjectId:
        """As the API writes it."""
        return ProjectId(ids.written(ids.PROJECT, self.project_id))


_LETTER: Final[LiteralString] = (
    " t.id, t.project_id, t.session_id, t.message_seq, t.number_id, t.provider, t.account, t.from_number, t.to_number,"
    " t.body, t.template, t.tries, t.looks, t.provider_message_id,"
    " coalesce(extract(epoch from now() - t.asked_at), 0)::float as asked_s,"
    " exists (select from opt_outs o where o.number_id = t.number_id and o.contact = t.to_number) as is_out,"
    " t.provider = 'whatsapp' and t.template is null and not "
    + HAS_WRITTEN.format(number="t.number_id", project="t.project_id", contact="t.to_number")
    + " as is_shut"
)


async def post(
    connection: Connection,
    project_id: ProjectId,
    session_id: SessionId,
    seq: int,
    number_id: NumberId,
    to: str,
    text: str,
    *,
    installation: str,
    template: Template | None = None,
) -> None:
    """Has a message of a session sent from a bound number, in the transaction in which it is written.

    ``installation`` is the carrier account of numbers that name none. A number that is bound no more sends nothing, and
    the message says so.
    """
    session = ids.parsed(ids.SESSION, session_id)
    cursor = await connection.execute("select carrier from numbers where id = %s", (ids.parsed(ids.NUMBER, number_id),))
    row = await cursor.fetchone()
    longest = LONGEST_OF[row[0]] if row else LONGEST
    about = {
        "project": ids.parsed(ids.PROJECT, project_id),
        "session": session,
        "seq": seq,
        "number": ids.parsed(ids.NUMBER, number_id),
        "to": to,
        "installation": installation,
        "template": None if template is None else msgspec.json.encode(template).decode(),
    }
    for part in (text,) if template is not None else parted(text, longest):
        await connection.execute(
            "insert into texts (id, project_id, session_id, message_seq, number_id, provider, account, from_number,"
            " to_number, body, template)"
            " select %(id)s, n.project_id, %(session)s, %(seq)s, n.id, n.carrier,"
            " coalesce(nullif(n.account, ''), %(installation)s), n.e164, %(to)s, %(body)s, %(template)s::jsonb"
            " from numbers n where n.id = %(number)s and n.project_id = %(project)s",
            {**about, "id": ids.parsed(ids.TEXT, ids.mint(ids.TEXT)), "body": part},
        )
    await tell_message(connection, session, seq)


async def claim(connection: Connection) -> list[Letter]:
    """Takes up texts that are due, for whoever asks the carrier as soon as this is committed."""
    return await _letters(
        connection,
        "update texts t set state = 'asked', asked_at = now(), look_at = now() + %(within)s, tries = tries + 1"
        " where t.id = any(array(select q.id from texts q where q.state = 'queued' and q.due_at <= now()"
        " and not exists (select from texts e where e.state in ('queued', 'asked') and e.id < q.id"
        "  and e.from_number = q.from_number and e.to_number = q.to_number)"
        " order by q.id limit %(limit)s for update skip locked)) and t.state = 'queued' returning",
        {"within": timedelta(seconds=ASKED_WITHIN_S), "limit": AT_ONCE},
    )


async def unanswered(connection: Connection, again_s: float) -> list[Letter]:
    """Takes up texts of which nobody knows what the carrier did; they are due for it again ``again_s`` later."""
    return await _letters(
        connection,
        "update texts t set look_at = now() + %(again)s where t.id = any(array(select q.id from texts q"
        " where q.state = 'asked' and q.look_at <= now() order by q.look_at limit %(limit)s for update skip locked))"
        " returning",
        {"again": timedelta(seconds=again_s), "limit": AT_ONCE},
    )


async def undelivered(connection: Connection) -> list[Letter]:
    """Takes up texts that the carrier has, and of which it has said nothing for long; each look is further off."""
    return await _letters(
        connection,
        "update texts t set looks = t.looks + 1, look_at = case when t.looks + 1 < cardinality(%(after)s::float[])"
        " then now() + (%(after)s::float[])[t.looks + 2] * interval '1 s' end"
        " where t.id = any(array(select q.id from texts q where q.state in ('accepted', 'sent')"
        " and q.look_at <= now() order by q.look_at limit %(limit)s for update skip locked)) returning",
        {"after": list(LOOKS_AFTER_S), "limit": AT_ONCE},
    )


async def look_no_more(connection: Connection, letter: Letter) -> None:
    """The carrier tells nothing of it when it is asked."""
    await connection.execute("update texts set look_at = null where id = %s and state <> 'asked'", (letter.id,))


async def _letters(connection: Connection, update: LiteralString, values: dict[str, object]) -> list[Letter]:
    async with connection.cursor(row_factory=class_row(Letter)) as cursor:
        await cursor.execute(update + _LETTER, values)
        return sorted(await cursor.fetchall(), key=lambda letter: letter.id)


async def look_soon(connection: Connection, letter: Letter, in_s: float) -> None:
    """Nobody knows whether the carrier took it: it is not asked again, but about it."""
    await connection.execute(
        "update texts set look_at = now() + %s where id = %s and state = 'asked'",
        (timedelta(seconds=in_s), letter.id),
    )


async def put_off(connection: Connection, letter: Letter, pause_s: float) -> None:
    """The carrier has nothing of it, and is to be asked later."""
    await connection.execute(
        "update texts set state = 'queued', due_at = now() + %s where id = %s and state = 'asked'",
        (timedelta(seconds=pause_s), letter.id),
    )


async def learn(connection: Connection, letter: Letter, provider_message_id: str) -> None:
    """The carrier has it under this id; its callback may have said so, and more, before."""
    await move(connection, letter.id, TextState.ACCEPTED, provider_message_id=provider_message_id)


async def fail(connection: Connection, letter: Letter, failure: TextFailure, code: int | None = None) -> None:
    """It will not be sent."""
    await move(connection, letter.id, TextState.FAILED, failure=failure, code=code)


async def move(
    connection: Connection,
    text: UUID,
    state: TextState,
    *,
    provider_message_id: str | None = None,
    failure: TextFailure | None = None,
    code: int | None = None,
) -> bool:
    """Whether this brings the text further; in whatever order the carrier's words come, the furthest one stays.

    A text that has failed was not delivered, whatever is said later.
    """
    behind = [word.value for word, rank in _RANKS.items() if rank < _rank(state)]
    cursor = await connection.execute(
        "update texts set state = case when state = any(%(behind)s) then %(state)s else state end,"
        " failure = case when state = any(%(behind)s) then %(failure)s else failure end,"
        " code = case when state = any(%(behind)s) then %(code)s else code end,"
        " look_at = case when state = any(%(behind)s) then now() + %(look)s else look_at end,"
        " provider_message_id = coalesce(provider_message_id, %(provider_message_id)s)"
        " where id = %(text)s and (state = any(%(behind)s)"
        "  or (provider_message_id is null and %(provider_message_id)s::text is not null))"
        " returning session_id, message_seq",
        {
            "text": text,
            "state": state.value,
            "behind": behind,
            "failure": "" if failure is None else failure.value,
            "code": code,
            "look": timedelta(seconds=LOOKS_AFTER_S[0]) if state in _UNDER_WAY else None,
            "provider_message_id": provider_message_id,
        },
    )
    row = await cursor.fetchone()
    if row is None:
        return False
    await tell_message(connection, *row)
    return True


def _rank(state: TextState) -> int:
    """What a failure may overtake: everything but the word that the text has arrived."""
    return _RANKS[TextState.DELIVERED] if state is TextState.FAILED else _RANKS[state]


async def tell_message(connection: Connection, session: UUID, seq: int) -> None:
    """A message is as far as the last of its parts, and has failed when one of them has."""
    await connection.execute(
        "update messages m set delivery = coalesce(t.state, 'failed'), delivery_failure = coalesce(t.failure, %(gone)s)"
        " from (select (array_agg(state order by state <> 'failed', array_position(%(ranks)s::text[], state)))[1]"
        "   as state, max(failure) as failure"
        "  from texts where session_id = %(session)s and message_seq = %(seq)s) t"
        " where m.session_id = %(session)s and m.seq = %(seq)s",
        {"session": session, "seq": seq, "ranks": list(TextState), "gone": TextFailure.NO_ACCOUNT.value},
    )
