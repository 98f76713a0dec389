"""Agents: checked when written, versioned, published without collisions."""

import asyncio

import pytest

ABSENT = "agt_" + "0" * 32


async def make(api, name="Reception", **more):
    """A new agent."""
    return await api.done("POST", "/v1/agents", {"name": name, "config": more.pop("config", {}), **more})


async def test_new_agent_is_a_draft_with_defaults_filled_in(tenant, a_config):
    """What comes back is the whole config, so that what a field does not say is visible."""
    agent = await make(tenant, config=a_config(prompt="Be kind."))
    assert agent["environment"] == "development"
    assert agent["published"] is None
    draft = agent["draft"]
    assert (draft["number"], draft["state"], draft["config"]["prompt"]) == (1, "draft", "Be kind.")
    assert draft["config"]["turn_taking"]["silence_timeout_ms"] == 600
    assert await tenant.done("GET", f"/v1/agents/{agent['id']}") == agent


async def test_publish_archives_the_version_before(tenant, a_config):
    """One version answers; a put after publishing begins the next one and leaves the published one alone."""
    agent = await make(tenant, config=a_config(prompt="one"))
    path = f"/v1/agents/{agent['id']}"
    first = await tenant.done("POST", f"{path}/publish")
    second = await tenant.done("PUT", f"{path}/draft", {"config": a_config(prompt="two")})
    assert (first["state"], first["number"]) == ("published", 1)
    assert (second["state"], second["number"]) == ("draft", 2)
    assert (await tenant.done("GET", path))["published"]["config"]["prompt"] == "one"
    await tenant.done("POST", f"{path}/publish")
    versions = (await tenant.done("GET", f"{path}/versions"))["items"]
    assert [(version["number"], version["state"]) for version in versions] == [(2, "published"), (1, "archived")]
    assert versions[1]["archived_at"] is not None
    assert versions[1]["config"]["prompt"] == "one"


async def test_draft_is_replaced_in_place(tenant, a_config):
    """Two puts make one draft, and the second config is whole: nothing of the first is left."""
    agent = await make(tenant, config=a_config(prompt="one", first_message="Hello"))
    draft = await tenant.done("PUT", f"/v1/agents/{agent['id']}/draft", {"config": a_config(prompt="two")})
    assert draft["id"] == agent["draft"]["id"]
    assert (draft["config"]["prompt"], draft["config"]["first_message"]) == ("two", "")


async def test_publish_without_a_draft_is_a_conflict(tenant, a_config):
    """A second publish finds nothing to do and says so."""
    agent = await make(tenant, config=a_config())
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")
    problem = await tenant.refused(409, "POST", f"/v1/agents/{agent['id']}/publish")
    assert problem["type"] == "urn:turncall:problem:nothing-to-publish"


async def test_concurrent_publishes_leave_one_published_version(control, tenant, a_config):
    """Of many publishes of one draft exactly one wins; the others are conflicts; no error, no second published one."""
    agent = await make(tenant, config=a_config())
    path = f"/v1/agents/{agent['id']}"
    answers = await asyncio.gather(*(tenant.ask("POST", f"{path}/publish") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    versions = (await tenant.done("GET", f"{path}/versions"))["items"]
    assert [version["state"] for version in versions] == ["published"]


async def test_publishing_and_drafting_at_once_never_collide(tenant, a_config):
    """Puts and publishes of one agent in any order leave numbers without gaps or twins and one published version."""
    agent = await make(tenant, config=a_config())
    path = f"/v1/agents/{agent['id']}"
    rounds = [
        ask
        for i in range(6)
        for ask in (
            tenant.ask("PUT", f"{path}/draft", {"config": a_config(prompt=str(i))}),
            tenant.ask("POST", f"{path}/publish"),
        )
    ]
    answers = await asyncio.gather(*rounds)
    assert {answer.status_code for answer in answers} <= {200, 409}
    versions = (await tenant.done("GET", f"{path}/versions"))["items"]
    numbers = [version["number"] for version in versions]
    assert numbers == list(range(len(numbers), 0, -1))
    states = [version["state"] for version in versions]
    assert states.count("published") == 1
    assert states.count("draft") <= 1


async def test_restore_brings_an_archived_version_back(tenant, a_config):
    """The archived version answers again, with its tools and knowledge; the live one is archived, the draft stays; only
    archived ones come back."""
    base = await tenant.done("POST", "/v1/knowledge-bases", {"name": "Prices"})
    linked = {
        "tools": [{"kind": "end_call", "name": "hang_up"}],
        "knowledge": [{"mode": "prompt", "base_id": base["id"]}],
    }
    agent = await make(tenant, config=a_config(prompt="one", **linked))
    path = f"/v1/agents/{agent['id']}"
    first = await tenant.done("POST", f"{path}/publish")
    await tenant.done("PUT", f"{path}/draft", {"config": a_config(prompt="two")})
    await tenant.done("POST", f"{path}/publish")
    await tenant.done("PUT", f"{path}/draft", {"config": a_config(prompt="three")})
    restored = await tenant.done("POST", f"{path}/versions/{first['id']}/restore")
    assert (restored["state"], restored["archived_at"], restored["config"]["prompt"]) == ("published", None, "one")
    assert [tool["name"] for tool in restored["config"]["tools"]] == ["hang_up"]
    assert [link["base_id"] for link in restored["config"]["knowledge"]] == [base["id"]]
    versions = (await tenant.done("GET", f"{path}/versions"))["items"]
    assert [version["state"] for version in versions] == ["draft", "archived", "published"]
    problem = await tenant.refused(409, "POST", f"{path}/versions/{first['id']}/restore")
    assert problem["type"] == "urn:turncall:problem:not-archived"
    assert (await tenant.done("GET", f"{path}/versions/{first['id']}")) == restored


async def test_publish_without_a_vendors_key_names_the_vendor(control, run, environ, a_config):
    """An agent of a vendor whose key is missing is drafted, told about, and not published until the key is there."""
    config = a_config(llm={"vendor": "acme", "options": {"model": "small"}})
    tenant = await control.tenant()
    verdict = await tenant.done("POST", "/v1/agents/validate", {"config": config})
    assert verdict == {"missing_vendor_keys": ["acme"], "undefined_variables": []}
    agent = await make(tenant, config=config)
    problem = await tenant.refused(409, "POST", f"/v1/agents/{agent['id']}/publish")
    assert problem["type"] == "urn:turncall:problem:vendor-key-missing"
    assert "acme" in problem["detail"]
    async with run(environ | {"TURNCALL_VENDOR_KEY_ACME": "the-key-of-acme"}) as equipped:
        published = await equipped.anybody.done("POST", f"/v1/agents/{agent['id']}/publish", headers=tenant.headers)
    assert published["state"] == "published"


async def test_names_are_unique_within_an_environment(tenant, a_config):
    """A second agent of the name is a conflict, in another environment it is not; renaming obeys the same rule."""
    await make(tenant, "Desk", config=a_config())
    await make(tenant, "Desk", config=a_config(), environment="production")
    other = await make(tenant, "Other", config=a_config())
    body = {"name": "Desk", "config": a_config()}
    for problem in (
        await tenant.refused(409, "POST", "/v1/agents", body),
        await tenant.refused(409, "PATCH", f"/v1/agents/{other['id']}", {"name": "Desk"}),
    ):
        assert problem["type"] == "urn:turncall:problem:name-taken"
    assert (await tenant.done("PATCH", f"/v1/agents/{other['id']}", {"name": "Lobby"}))["name"] == "Lobby"


async def test_concurrent_agents_of_one_name_make_one(tenant, a_config):
    """Of two requests for the same name at once one is made and the other is a conflict."""
    body = {"name": "Twin", "config": a_config()}
    answers = await asyncio.gather(*(tenant.ask("POST", "/v1/agents", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_list_filters_and_tells_the_current_versions(tenant, a_config):
    """Agents are found by environment and name, with the numbers of their draft and published version."""
    staged = await make(tenant, "Staged", config=a_config(), environment="staging")
    await make(tenant, "Plain", config=a_config())
    await tenant.done("POST", f"/v1/agents/{staged['id']}/publish")
    (found,) = (await tenant.done("GET", "/v1/agents?environment=staging"))["items"]
    assert (found["id"], found["draft_number"], found["published_number"]) == (staged["id"], None, 1)
    (found,) = (await tenant.done("GET", "/v1/agents?name=Plain"))["items"]
    assert (found["draft_number"], found["published_number"]) == (1, None)
    await tenant.refused(422, "GET", "/v1/agents?environment=moon")


async def test_versions_page_by_cursor(tenant, a_config):
    """A long history comes in pages that join without gap or overlap."""
    agent = await make(tenant, config=a_config())
    path = f"/v1/agents/{agent['id']}"
    for _ in range(3):
        await tenant.done("POST", f"{path}/publish")
        await tenant.done("PUT", f"{path}/draft", {"config": a_config()})
    first = await tenant.done("GET", f"{path}/versions?limit=3")
    second = await tenant.done("GET", f"{path}/versions", params={"limit": 3, "cursor": first["next_cursor"]})
    assert [version["number"] for version in first["items"] + second["items"]] == [4, 3, 2, 1]
    assert second["next_cursor"] is None


TOOL = {"kind": "webhook", "name": "look_up", "description": "Looks up.", "url": "https://tools.example.com/x"}


LOCAL = {"vendor": "local"}


def acme(**options):
    """A reference to the vendor with rules."""
    return {"vendor": "acme", "options": {"model": "small"} | options}


AMOUNT = {"type": "object", "properties": {"amount": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stt": {"vendor": "nobody"}}, "config.pipeline.stt.vendor"),
        ({"stt": {"vendor": "acme", "options": {"model": "huge"}}}, "config.pipeline.stt.options.model"),
        ({"stt": {"vendor": "acme"}}, "config.pipeline.stt.options.model"),
        ({"tts": acme(speed=9)}, "config.pipeline.tts.options.speed"),
        ({"tts": acme(spead=1)}, "config.pipeline.tts.options.spead"),
        ({"llm": {"vendor": "acme", "options": {"model": "small", "beams": 2.0}}}, "config.pipeline.llm.options.beams"),
        (
            {"llm": {"vendor": "acme", "options": {"model": "small", "beams": True}}},
            "config.pipeline.llm.options.beams",
        ),
        ({"llm": {"vendor": "local", "option": {}}}, "config.pipeline.llm.option"),
        ({"llm": {}}, "config.pipeline.llm.vendor"),
        ({"speech": {"model": {"vendor": "nobody"}}}, "config.pipeline.model.vendor"),
        ({"speech": {"model": acme(speed=9)}}, "config.pipeline.model.options.speed"),
        ({"speech": {"model": LOCAL, "fallbacks": [acme(spead=1)]}}, "config.pipeline.fallbacks[0].options.spead"),
        ({"speech": {"model": LOCAL, "apology_voice": {"vendor": "me"}}}, "config.pipeline.apology_voice.vendor"),
        ({"speech": {"model": LOCAL, "tts": LOCAL}}, "config.pipeline.tts"),
        ({"speech": {}}, "config.pipeline.model"),
        ({"speech": {"model": LOCAL}, "pronunciations": {"Oslo": "Uslu"}}, "config.pronunciations"),
        ({"speech": {"model": LOCAL}, "analysis": {}}, "config.analysis.model"),
        ({"speech": {"model": LOCAL}, "keyterms": ["Oslo"]}, "config.keyterms"),
        ({"speech": {"model": LOCAL}, "turn_taking": {"min_words": 2}}, "config.turn_taking.min_words"),
        ({"promt": "x"}, "config.promt"),
        ({"language": "english"}, "config.language"),
        ({"max_duration_s": 5}, "config.max_duration_s"),
        ({"max_duration_s": "60"}, "config.max_duration_s"),
        ({"prompt": "a\0b"}, "config.prompt"),
        ({"turn_taking": {"silence_timeout_ms": 10}}, "config.turn_taking.silence_timeout_ms"),
        ({"turn_taking": None}, "config.turn_taking"),
        ({"timezone": "Mars/Olympus"}, "config.timezone"),
        ({"timezone": "../../etc/passwd"}, "config.timezone"),
        ({"variables": {"first name": "x"}}, "config.variables"),
        ({"first_message": "Hello {{call.weather}}"}, "config.first_message"),
        ({"tools": [TOOL | {"description": "For {{agent.mood}}"}]}, "config.tools[0].description"),
        ({"prompt": "\u00e9" * 90_000}, "config"),
        ({"tools": [{"kind": "nuke"}]}, "config.tools[0].kind"),
        ({"tools": [TOOL, TOOL]}, "config"),
        ({"tools": [TOOL | {"url": "ftp://example.com"}]}, "config.tools[0].url"),
        ({"tools": [TOOL | {"url": "file:///etc/passwd"}]}, "config.tools[0].url"),
        ({"tools": [TOOL | {"name": "Look Up"}]}, "config.tools[0].name"),
        ({"tools": [TOOL | {"parameters": {"type": "array"}}]}, "config.tools[0].parameters.type"),
        ({"tools": [TOOL | {"parameters": {}}]}, "config.tools[0].parameters.type"),
        ({"tools": [TOOL | {"bound": {"phone": "{{call.caller_number}}"}}]}, "config.tools[0].bound.phone"),
        (
            {"tools": [TOOL | {"parameters": AMOUNT, "bound": {"amount": "{{amount}}"}}]},
            "config.tools[0].bound.amount",
        ),
        (
            {"tools": [TOOL | {"parameters": {"type": "object", "properties": {"day": {"type": "date"}}}}]},
            "config.tools[0].parameters.properties.day.type",
        ),
        (
            {"tools": [TOOL | {"parameters": {"type": "object", "$ref": "https://example.com/schema.json"}}]},
            "config.tools[0].parameters.$ref",
        ),
    ],
)
@pytest.mark.parametrize("route", ["create", "put", "validate"])
async def test_bad_config_is_refused_by_the_path_of_the_field(tenant, a_config, change, field, route):
    """Every way of writing a config refuses the same faults, names the field, and stores nothing."""
    if route == "put":
        agent = await make(tenant, config=a_config())
        method, path, body = "PUT", f"/v1/agents/{agent['id']}/draft", {}
    else:
        method, path, body = {
            "create": ("POST", "/v1/agents", {"name": "Bad"}),
            "validate": ("POST", "/v1/agents/validate", {}),
        }[route]
    problem = await tenant.refused(422, method, path, body | {"config": a_config(**change)})
    assert field in [fault["field"] for fault in problem["errors"]], problem["errors"]
    assert not (await tenant.done("GET", "/v1/agents?name=Bad"))["items"]


async def test_variables_that_a_call_must_bring_along_are_reported(tenant, a_config):
    """A valid config says which of its variables have no default."""
    config = a_config(prompt="{{name}} has {{plan}} on {{call.date}}", variables={"plan": "basic"})
    verdict = await tenant.done("POST", "/v1/agents/validate", {"config": config})
    assert verdict["undefined_variables"] == ["name"]


async def test_every_fault_of_the_vendors_is_named_at_once(tenant, a_config):
    """Three bad stages give three faults in one answer."""
    bad = {"vendor": "acme", "options": {"model": "huge"}}
    problem = await tenant.refused(422, "POST", "/v1/agents/validate", {"config": a_config(stt=bad, llm=bad, tts=bad)})
    fields = [fault["field"] for fault in problem["errors"]]
    assert fields == [f"config.pipeline.{kind}.options.model" for kind in ("stt", "llm", "tts")]


async def test_a_speech_agent_is_published_with_the_keys_of_all_its_vendors(tenant, a_config):
    """One model in place of three stages; the keys of its fallbacks and of the voice that apologises are needed too."""
    speech = {"model": LOCAL, "fallbacks": [acme()], "apology_voice": LOCAL}
    agent = await make(tenant, config=a_config(speech=speech, turn_taking={"end_of_turn": "smart"}))
    problem = await tenant.refused(409, "POST", f"/v1/agents/{agent['id']}/publish")
    assert "acme" in problem["detail"]
    await tenant.done("PUT", f"/v1/agents/{agent['id']}/draft", {"config": a_config(speech={"model": LOCAL})})
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")


async def test_deeply_nested_tool_parameters_are_refused(tenant, a_config):
    """A schema nested beyond reason is a 400, not a crash of the checker."""
    schema: dict = {"type": "object"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"x": schema}}
    body = {"config": a_config(tools=[TOOL | {"parameters": schema}])}
    problem = await tenant.refused(400, "POST", "/v1/agents/validate", body)
    assert "deep" in problem["detail"]


async def test_missing_agent_is_not_found(tenant, a_config):
    """Every route of an agent answers 404 for one that does not exist."""
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("PUT", "/draft", {"config": a_config()}),
        ("POST", "/publish", None),
        ("GET", "/versions", None),
    ):
        await tenant.refused(404, method, f"/v1/agents/{ABSENT}{path}", body)


async def test_viewer_reads_and_does_not_write(control, tenant, a_config):
    """A viewer sees agents and is refused every change."""
    agent = await make(tenant, config=a_config())
    viewer = await control.tenant("viewer", tenant.project_id)
    await viewer.done("GET", f"/v1/agents/{agent['id']}")
    await viewer.refused(403, "POST", f"/v1/agents/{agent['id']}/publish")
    await viewer.refused(403, "PUT", f"/v1/agents/{agent['id']}/draft", {"config": a_config()})


async def test_an_agents_limit_of_calls_is_changed_by_itself(tenant, a_config):
    """The limit and the name change apart; null takes the limit away, and nonsense is refused by name."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Desk", "config": a_config()})
    path = f"/v1/agents/{agent['id']}"
    assert agent["max_concurrent_calls"] is None
    limited = await tenant.done("PATCH", path, {"max_concurrent_calls": 2})
    assert (limited["name"], limited["max_concurrent_calls"]) == ("Desk", 2)
    assert (await tenant.done("PATCH", path, {"name": "Front desk"}))["max_concurrent_calls"] == 2
    assert (await tenant.done("PATCH", path, {"max_concurrent_calls": None}))["max_concurrent_calls"] is None
    problem = await tenant.refused(422, "PATCH", path, {"max_concurrent_calls": -1})
    assert [fault["field"] for fault in problem["errors"]] == ["max_concurrent_calls"]


async def test_an_archived_agent_is_out_of_service_until_it_is_published_again(tenant, a_config):
    """Nothing of it can be changed or published meanwhile, lists keep it apart, and a repeat changes nothing."""
    agent = await make(tenant, config=a_config())
    path = f"/v1/agents/{agent['id']}"
    published = await tenant.done("POST", f"{path}/publish")
    await tenant.done("PUT", f"{path}/draft", {"config": a_config(prompt="next")})
    archived = await tenant.done("POST", f"{path}/archive")
    assert (archived["published"], archived["draft"]["number"]) == (None, 2)
    assert archived["archived_at"] is not None
    assert await tenant.done("POST", f"{path}/archive") == archived
    for method, part, body in (
        ("POST", "/publish", None),
        ("POST", f"/versions/{published['id']}/restore", None),
        ("PUT", "/draft", {"config": a_config()}),
    ):
        problem = await tenant.refused(409, method, path + part, body)
        assert problem["type"] == "urn:turncall:problem:agent-archived"
    file = {"name": agent["name"], "environment": agent["environment"], "config": a_config(prompt="else")}
    await tenant.refused(409, "POST", "/v1/agents/import", file)

    async def listed(**query):
        return [item["id"] for item in (await tenant.done("GET", "/v1/agents", params=query))["items"]]

    assert agent["id"] not in await listed()
    assert await listed(archived=True) == [agent["id"]]
    back = await tenant.done("POST", f"{path}/unarchive")
    assert (back["archived_at"], back["published"]) == (None, None)
    restored = await tenant.done("POST", f"{path}/versions/{published['id']}/restore")
    assert (restored["id"], restored["state"]) == (published["id"], "published")
