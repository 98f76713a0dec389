"""A project's settings: merged field by field, and of one shape with what changes them."""

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from turncall_control.projects.schemas import SettingsChange
from turncall_control.settings import ProjectLimits, ProjectSettings, changed


def names(kind: type[Struct]) -> dict[str, object]:
    """The fields of a struct, and of the structs in it, by name."""
    found: dict[str, object] = {}
    for field in fields(kind):
        inner = [part for part in getattr(field.type, "__args__", (field.type,)) if isinstance(part, type)]
        structs = [part for part in inner if issubclass(part, Struct)]
        found[field.name] = names(structs[0]) if structs else None
    return found


def test_every_setting_can_be_changed() -> None:
    """What changes the settings has the fields of the settings, at every level."""
    assert names(SettingsChange) == names(ProjectSettings)


def test_what_is_not_named_stays() -> None:
    """An empty change, at any level, changes nothing."""
    settings = ProjectSettings(limits=ProjectLimits(concurrent_calls=7))
    for body in (b"{}", b'{"limits": {}}'):
        assert changed(settings, msgspec.json.decode(body, type=SettingsChange)) == settings


def test_null_takes_a_limit_away() -> None:
    """A null is a value, not silence."""
    settings = ProjectSettings(limits=ProjectLimits(concurrent_calls=7))
    change = msgspec.json.decode(b'{"limits": {"concurrent_calls": null}}', type=SettingsChange)
    assert change.limits is not UNSET
    assert changed(settings, change) == ProjectSettings()
