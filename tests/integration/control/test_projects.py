"""Projects: made and listed by the operator, read and changed by their own keys."""

import pytest

from turncall_control.errors import NotFound
from turncall_control.settings import REMEMBER_S, SettingsLookup
from turncall_proto import ids


async def test_operator_lists_projects_page_by_page(control):
    """Every project comes once, newest first, and the last page says that it is the last."""
    made = [(await control.operator.done("POST", "/v1/projects", {"name": f"p{i}"}))["id"] for i in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = await control.operator.done("GET", "/v1/projects", params=query)
        assert len(page["items"]) <= 2
        seen += [project["id"] for project in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[:5] == list(reversed(made))
    assert len(seen) == len(set(seen))


async def test_admin_renames_the_project(control, tenant):
    """The new name is there for everybody who reads the project."""
    path = f"/v1/projects/{tenant.project_id}"
    assert (await tenant.done("PATCH", path, {"name": "Renamed"}))["name"] == "Renamed"
    viewer = await control.tenant("viewer", tenant.project_id)
    assert (await viewer.done("GET", path))["name"] == "Renamed"


@pytest.mark.parametrize("role", ["developer", "viewer"])
async def test_only_an_admin_renames(control, role):
    """Weaker roles are refused by name of the permission they lack."""
    api = await control.tenant(role)
    problem = await api.refused(403, "PATCH", f"/v1/projects/{api.project_id}", {"name": "Mine"})
    assert "project:write" in problem["detail"]


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "a\nb", "n" * 121, 5, None])
async def test_bad_name_is_refused_by_field(control, name):
    """Blank, untrimmed, multi-line, long and non-text names are refused."""
    problem = await control.operator.refused(422, "POST", "/v1/projects", {"name": name})
    assert [fault["field"] for fault in problem["errors"]] == ["name"]


async def test_first_key_for_a_missing_project_is_not_found(control):
    """The operator cannot make a key for a project that does not exist."""
    path = "/v1/projects/prj_" + "0" * 32 + "/keys"
    await control.operator.refused(404, "POST", path, {"name": "x", "role": "admin"})


async def test_signing_secret_is_an_admins_and_the_projects_own(control, tenant):
    """Admins of two projects read two secrets, the same ones each time; a developer reads none."""
    path = f"/v1/projects/{tenant.project_id}/signing-secret"
    first = await tenant.done("GET", path)
    other = await control.tenant()
    second = await other.done("GET", f"/v1/projects/{other.project_id}/signing-secret")
    assert first["secret"].startswith("whsec_")
    assert first != second
    assert await tenant.done("GET", path) == first
    developer = await control.tenant("developer", tenant.project_id)
    await developer.refused(403, "GET", path)


async def test_settings_are_changed_field_by_field(control, tenant):
    """A change of one setting leaves the name and the other ones; null takes it back."""
    path = f"/v1/projects/{tenant.project_id}"
    before = await tenant.done("GET", path)
    assert before["settings"]["limits"]["concurrent_calls"] is None
    after = await tenant.done("PATCH", path, {"settings": {"limits": {"concurrent_calls": 3}}})
    assert after["settings"]["limits"]["concurrent_calls"] == 3
    assert (await tenant.done("PATCH", path, {"name": "Other"}))["settings"] == after["settings"]
    await tenant.done("PATCH", path, {"settings": {"limits": {"concurrent_calls": None}}})
    assert await tenant.done("GET", path) == before | {"name": "Other"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"limits": {"concurrent_calls": -1}}, "settings.limits.concurrent_calls"),
        ({"limits": {"concurrent_calls": "3"}}, "settings.limits.concurrent_calls"),
        ({"limits": {"calls": 3}}, "settings.limits.calls"),
        ({"limits": None}, "settings.limits"),
        ({"colour": "red"}, "settings.colour"),
    ],
)
async def test_bad_setting_is_refused_by_field(tenant, settings, field):
    """A setting that does not exist or cannot be is named."""
    problem = await tenant.refused(422, "PATCH", f"/v1/projects/{tenant.project_id}", {"settings": settings})
    assert [fault["field"] for fault in problem["errors"]] == [field]


async def test_settings_are_looked_up_again_after_a_change(control, tenant):
    """Hot paths see a change of this process at once, and another replica's when they have forgotten."""
    now_s = 0.0
    other = SettingsLookup(control.plane.database.pool, lambda: now_s)
    for lookup in (control.plane.settings, other):
        assert (await lookup.of(tenant.project_id)).limits.concurrent_calls is None
    body = {"settings": {"limits": {"concurrent_calls": 3}}}
    await tenant.done("PATCH", f"/v1/projects/{tenant.project_id}", body)
    assert (await control.plane.settings.of(tenant.project_id)).limits.concurrent_calls == 3
    assert (await other.of(tenant.project_id)).limits.concurrent_calls is None
    now_s = REMEMBER_S
    assert (await other.of(tenant.project_id)).limits.concurrent_calls == 3


async def test_settings_of_no_project_are_not_found(control):
    """A project that is not there has no settings, not the usual ones."""
    with pytest.raises(NotFound):
        await control.plane.settings.of(ids.mint(ids.PROJECT))
