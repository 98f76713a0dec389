"""What a project sets for itself, and a look-up of it for hot paths that forgets within thirty seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeGuard, get_args

import msgspec
from msgspec import UNSET, Meta, Struct
from msgspec.structs import fields, replace

from turncall_control.db import failures
from turncall_control.db.engine import Pool
from turncall_control.errors import NotFound
from turncall_proto import ids
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import ProjectId

REMEMBER_S: Final = 30.0
"""A change made on another replica may be unknown here for as long, if the news of it is lost."""
REMEMBERED: Final = 10_000

CallCount = Annotated[int, Meta(ge=0, le=100_000)]
KeptDays = Annotated[int, Meta(ge=1, le=3650)]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[A-Z]{2})?$(?!\n)", examples=["de", "en-US"])]
"""As BCP 47 writes it, with a region or without."""
FALLBACK_LANGUAGE: Final = "en"
DEFAULT_LANGUAGE_OF_P: Final = "coalesce(p.settings ->> 'default_language', 'en')"
"""`ProjectSettings.default_language` of a row of ``projects p``, also of one that was written before there was any."""
RequestRate = Annotated[int, Meta(ge=1, le=10_000_000)]


class ProjectLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the project's callers and servers may use at most; null for no limit of the project's own."""

    concurrent_calls: Annotated[
        CallCount | None, Meta(description="Live calls at a time. Further callers hear that all lines are busy.")
    ] = None
    requests_per_minute: Annotated[
        RequestRate | None,
        Meta(description="Requests of all keys together, beside what the installation allows each key and address."),
    ] = None


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many days what is kept is deleted: of a call since it began, of a conversation in writing since it was
    over; null to keep it."""

    recordings_days: Annotated[KeptDays | None, Meta(description="The recording. The rest of the call stays.")] = None
    calls_days: Annotated[KeptDays | None, Meta(description="The call and everything that is known of it.")] = None
    sessions_days: Annotated[
        KeptDays | None, Meta(description="The conversation in writing and everything that is known of it.")
    ] = None


Prefix = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{0,14}$(?!\n)", description="What numbers begin with: +49, +1415.")]
HourOfDay = Annotated[str, Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$(?!\n)", description="08:00")]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEK: Final[tuple[Weekday, ...]] = get_args(Weekday)


class CallingHours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When people may be called, by the clock where they are. ``ends`` itself is too late."""

    begins: HourOfDay
    ends: HourOfDay
    weekdays: Annotated[tuple[Weekday, ...], Meta(min_length=1, max_length=7)] = WEEK

    def __post_init__(self) -> None:
        if self.begins >= self.ends:
            raise ValueError("calling hours must begin before they end, on the same day")


class OutboundPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the project's agents may call, and when. Without ``calling_hours`` that is at any time; calls that are asked
    for outside of them wait."""

    calling_hours: CallingHours | None = None
    allowed_prefixes: Annotated[
        tuple[Prefix, ...], Meta(max_length=300, description="Other numbers are refused. Empty: none are.")
    ] = ()


class TransferPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom callers may be connected to, by agents and through the API."""

    allowed_destinations: Annotated[
        tuple[Annotated[str, Meta(min_length=2, max_length=200)], ...],
        Meta(max_length=300, description="Numbers and SIP addresses, whole or up to a star: +1415*. Empty: all."),
    ] = ()


Origin = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/?#@]{1,253}$(?!\n)",
        description="Scheme, host and port, as browsers write it: https://www.example.com",
        examples=["https://www.example.com"],
    ),
]
"""What a browser says of where a page comes from (RFC 6454)."""


class BrowserPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call agents from web pages."""

    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(max_length=100, description="Pages from elsewhere are refused. Empty: none are."),
    ] = ()


class ProjectSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a project sets for itself: one shape for the API and the column."""

    limits: ProjectLimits = ProjectLimits()
    retention: Retention = Retention()
    outbound: OutboundPolicy = OutboundPolicy()
    transfers: TransferPolicy = TransferPolicy()
    browser: BrowserPolicy = BrowserPolicy()
    default_language: Annotated[Language, Meta(description="Spoken by agents that name no language of their own.")] = (
        FALLBACK_LANGUAGE
    )


def speaking(agent: AgentSpec, default_language: str) -> AgentSpec:
    """The agent as it is on a call: with its project's language where it names none of its own."""
    return agent if agent.language else replace(agent, language=default_language)


def changed[T: Struct](value: T, change: Struct) -> T:
    """``value`` with the fields that ``change`` names: a JSON merge patch whose nulls are values.

    ``change`` has fields of the same names, `UNSET` where nothing is said; a change inside is merged in its turn.
    """
    said = {field.name: getattr(change, field.name) for field in fields(change)}
    return replace(
        value,
        **{
            name: changed(getattr(value, name), wanted) if _is_change(wanted) else wanted
            for name, wanted in said.items()
            if wanted is not UNSET
        },
    )


def _is_change(wanted: object) -> TypeGuard[Struct]:
    """Whether it says what to change, and is not a new value itself: every field of a change may be left out."""
    return isinstance(wanted, Struct) and all(field.default is UNSET for field in fields(wanted))


class SettingsLookup:
    """The settings of the projects asked about lately. ``clock`` gives monotonic seconds."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._known: OrderedDict[ProjectId, tuple[float, ProjectSettings]] = OrderedDict()

    async def of(self, project_id: ProjectId) -> ProjectSettings:
        """The project's settings, at most `REMEMBER_S` old while Postgres answers, the last known ones otherwise.

        Raises `NotFound` for a project that is not there, and what the database raises when nothing is known.
        """
        known = self._known.get(project_id)
        if known is not None and known[0] > self._clock():
            return known[1]
        asked_s = self._clock()
        try:
            settings = await self._read(project_id)
        except failures.FAILURES as error:
            if known is None or not failures.is_away(error):
                raise
            return known[1]
        self._known[project_id] = (asked_s + REMEMBER_S, settings)
        self._known.move_to_end(project_id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return settings

    def forget(self, project_id: ProjectId) -> None:
        """Drops what is known of a project whose settings have changed."""
        self._known.pop(project_id, None)

    async def _read(self, project_id: ProjectId) -> ProjectSettings:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "select settings from projects where id = %s and deleted_at is null",
                (ids.parsed(ids.PROJECT, project_id),),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound
        return msgspec.convert(row[0], ProjectSettings)
