"""A project as the API takes and shows it."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from turncall_control.http.fields import Label, Moment
from turncall_control.settings import (
    CallCount,
    CallingHours,
    KeptDays,
    Language,
    Origin,
    Prefix,
    ProjectSettings,
    RequestRate,
)
from turncall_proto.ids import ProjectId


class ProjectNew(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to be made."""

    name: Label


class LimitsChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits to be changed; null takes a limit away."""

    concurrent_calls: CallCount | UnsetType | None = UNSET
    requests_per_minute: RequestRate | UnsetType | None = UNSET


class RetentionChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be kept for how long; null keeps it."""

    recordings_days: KeptDays | UnsetType | None = UNSET
    calls_days: KeptDays | UnsetType | None = UNSET
    sessions_days: KeptDays | UnsetType | None = UNSET


class OutboundChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about whom agents may call, and when."""

    calling_hours: CallingHours | UnsetType | None = UNSET
    allowed_prefixes: Annotated[tuple[Prefix, ...], Meta(max_length=300)] | UnsetType = UNSET


class TransferChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about whom callers may be connected to."""

    allowed_destinations: (
        Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=200)], ...], Meta(max_length=300)] | UnsetType
    ) = UNSET


class BrowserChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about calls from web pages."""

    allowed_origins: Annotated[tuple[Origin, ...], Meta(max_length=100)] | UnsetType = UNSET


class SettingsChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings to be changed; what is left out stays as it is."""

    limits: LimitsChange | UnsetType = UNSET
    retention: RetentionChange | UnsetType = UNSET
    outbound: OutboundChange | UnsetType = UNSET
    transfers: TransferChange | UnsetType = UNSET
    browser: BrowserChange | UnsetType = UNSET
    default_language: Language | UnsetType = UNSET


class ProjectChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed about a project; what is left out stays as it is."""

    name: Label | UnsetType = UNSET
    settings: SettingsChange | UnsetType = UNSET


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project."""

    id: ProjectId
    name: str
    settings: ProjectSettings
    created_at: Moment


class SigningSecret(Struct, frozen=True, kw_only=True):
    """What requests to the project's own servers are signed with."""

    secret: Annotated[str, Meta(description="whsec_…, for any library of Standard Webhooks.")]


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a signing secret gives way to its successor."""

    overlap_s: Annotated[
        int,
        Meta(ge=0, le=7 * 86_400, description="How long the secret of before signs as well; 0 when it has leaked."),
    ] = 86_400
