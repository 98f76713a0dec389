"""Agents as files: out of one project, into another, by the API and by the command line."""

import json

import pytest
import yaml
from httpx import ASGITransport, AsyncClient

from turncall import agents as command
from turncall.client import TurnCall


@pytest.fixture
async def tenant(control):
    """A developer of a new project."""
    return await control.tenant("developer")


@pytest.fixture
async def api(control, tenant):
    """The typed client of that developer."""
    async with TurnCall("http://control") as client:
        await client._http.aclose()
        transport = ASGITransport(control.app)
        client._http = AsyncClient(transport=transport, base_url="http://control", headers=tenant.headers)
        yield client


async def test_an_import_is_idempotent_and_publishes_when_asked(tenant, a_config):
    """Created, then unchanged; a change is named by its field; what answers calls moves only with publish."""
    file = {"name": "Desk", "environment": "staging", "config": a_config(prompt="One.")}

    async def imported(publish=False, dry_run=False):
        query = {"publish": publish, "dry_run": dry_run}
        return await tenant.done("POST", "/v1/agents/import", file, params=query)

    first = await imported(dry_run=True)
    assert (first["agent_id"], first["outcome"]) == (None, "created")
    assert (await tenant.done("GET", "/v1/agents"))["items"] == []
    made = await imported()
    assert (made["outcome"], made["publishes"]) == ("created", False)
    assert (await imported())["outcome"] == "unchanged"
    assert (await imported(publish=True))["publishes"] is True
    assert (await imported(publish=True)) == {
        "agent_id": made["agent_id"],
        "outcome": "unchanged",
        "publishes": False,
        "changes": [],
    }
    file["config"]["prompt"] = "Two."
    seen = await imported(publish=True, dry_run=True)
    assert seen["changes"] == [{"field": "prompt", "before": "One.", "after": "Two."}]
    exported = await tenant.done("GET", f"/v1/agents/{made['agent_id']}/export")
    assert exported["config"]["prompt"] == "One.", "a dry run publishes nothing"
    assert exported["config"]["language"] == "", "what an agent leaves to its project is the next project's to say"
    await imported(publish=True)
    exported = await tenant.done("GET", f"/v1/agents/{made['agent_id']}/export")
    assert (exported["name"], exported["environment"], exported["config"]["prompt"]) == ("Desk", "staging", "Two.")
    await tenant.refused(404, "GET", f"/v1/agents/{made['agent_id']}/export?version=draft")


async def test_a_bad_file_is_refused_by_its_field_and_stores_nothing(tenant, a_config):
    """Also in a dry run: the faults of an import are those of a draft."""
    file = {"name": "Desk", "config": a_config(timezone="Nowhere")}
    problem = await tenant.refused(422, "POST", "/v1/agents/import", file, params={"dry_run": True})
    assert [fault["field"] for fault in problem["errors"]] == ["config.timezone"]
    await tenant.refused(422, "POST", "/v1/agents/import", {**file, "color": "red"})
    assert (await tenant.done("GET", "/v1/agents"))["items"] == []


async def test_versions_are_compared_field_by_field(tenant, a_config):
    """What was added, taken away and changed between two versions, by path; another agent's version is refused."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "A", "config": a_config(prompt="One.")})
    path = f"/v1/agents/{agent['id']}"
    await tenant.done("POST", f"{path}/publish")
    tool = {"kind": "end_call"}
    second = await tenant.done("PUT", f"{path}/draft", {"config": a_config(prompt="Two.", tools=[tool])})
    shown = await tenant.done("GET", f"{path}/versions/{second['id']}/changes", params={"since": agent["draft"]["id"]})
    found = {change["field"]: (change["before"], change["after"]) for change in shown["changes"]}
    assert found["prompt"] == ("One.", "Two.")
    assert found["tools[0].kind"] == (None, "end_call")
    assert found["tools"] == ([], None)
    assert await tenant.done("GET", f"{path}/versions/{second['id']}/changes") == shown, "the published one"
    other = await tenant.done("POST", "/v1/agents", {"name": "B", "config": a_config()})
    await tenant.refused(422, "GET", f"/v1/agents/{other['id']}/versions/{other['draft']['id']}/changes")
    for since in ("x", other["draft"]["id"]):
        await tenant.refused(422, "GET", f"{path}/versions/{second['id']}/changes", params={"since": since})


async def test_an_agent_in_use_is_not_deleted(tenant, a_config, control, carrier):
    """A bound number holds its agent; without one the agent goes with its versions, and its name is free."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Gone", "config": a_config()})
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")
    other = await tenant.done("POST", "/v1/agents", {"name": "Stays", "config": a_config()})
    routing = {"kind": "agent", "agent_id": other["id"]}
    body = {"number": "+15550100002", "routing": routing, "fallback": {"agent_id": agent["id"]}}
    number = await tenant.done("POST", "/v1/numbers", body)
    problem = await tenant.refused(409, "DELETE", f"/v1/agents/{agent['id']}")
    assert problem["type"].endswith("agent-in-use")
    await tenant.done("DELETE", f"/v1/numbers/{number['id']}")
    await tenant.done("DELETE", f"/v1/agents/{agent['id']}")
    await tenant.refused(404, "GET", f"/v1/agents/{agent['id']}")
    await tenant.done("POST", "/v1/agents", {"name": "Gone", "config": a_config()})


async def test_the_command_line_applies_files_and_tells_ci(api, a_config, tmp_path):
    """A dry run that would change exits 3, an apply 0, a bad file 1 with the line of each fault."""
    file = tmp_path / "desk.yaml"
    file.write_text(yaml.safe_dump({"name": "Desk", "config": a_config(prompt="Hello {{name}}")}, sort_keys=False))
    lines: list[str] = []
    assert await command.applied(api, [file], lines.append, publish=True, dry_run=True) == command.WOULD_CHANGE
    assert await command.applied(api, [file], lines.append, publish=True, dry_run=False) == command.OK
    assert await command.applied(api, [file], lines.append, publish=True, dry_run=True) == command.OK
    assert [line.rpartition(": ")[2] for line in lines] == [
        "would be created and published",
        "created and published",
        "unchanged",
    ]
    lines.clear()
    assert await command.validated(api, [file], lines.append) == command.OK
    assert lines == [f"{file}: valid", f"{file}: warning: {{{{name}}}} has no default"]
    exported = await command.exported(api, "Desk", "development", is_draft=False, as_json=False)
    copy = tmp_path / "copy.yaml"
    copy.write_text(exported)
    assert await command.applied(api, [copy], lines.append, publish=True, dry_run=True) == command.OK
    as_json = await command.exported(api, "Desk", "development", is_draft=False, as_json=True)
    assert json.loads(as_json) == yaml.safe_load(exported)
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "name: Desk\nconfig:\n  timezone: Nowhere\n"
        + "  pipeline:\n    kind: cascade\n"
        + "".join(f"    {stage}: {{vendor: local}}\n" for stage in ("stt", "llm", "tts"))
    )
    lines.clear()
    assert await command.applied(api, [bad, copy], lines.append, publish=True, dry_run=False) == command.REFUSED
    assert lines[0].startswith(f"{bad}:3: config.timezone:")
    assert lines[1] == f"{copy}: unchanged", "one bad file does not stop the others"
    with pytest.raises(command.FileRefused, match="no agent named Nobody"):
        await command.exported(api, "Nobody", "development", is_draft=False, as_json=False)


def test_a_broken_file_is_refused_by_its_line(tmp_path):
    """YAML that cannot be read says where; a file of another kind, and one that is not there, are refused."""
    file = tmp_path / "broken.yaml"
    for text, told in (("a: 1\nb: [", "broken.yaml:2"), ("- 1", "broken.yaml:1")):
        file.write_text(text)
        with pytest.raises(command.FileRefused, match=told):
            command.read(file)
    with pytest.raises(command.FileRefused, match="absent"):
        command.read(tmp_path / "absent.yaml")


def test_a_fault_finds_its_line():
    """Inside lists and mappings; what is missing is shown where it belongs."""
    text = "name: A\nconfig:\n  tools:\n    - kind: webhook\n      url: x\n    - kind: end_call\n"
    assert command.line_of(text, "config.tools[0].url") == 5
    assert command.line_of(text, "config.tools[1]") == 6
    assert command.line_of(text, "config.pipeline.stt") == 2
    assert command.line_of("", "config") == 1
