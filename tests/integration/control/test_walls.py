"""Who may call what, and the two walls between projects: each one holds with the other one off."""

import sys
from datetime import UTC, datetime

import pytest
from litestar import Litestar, get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.routes import HTTPRoute
from sqlalchemy import text, true
from sqlalchemy.exc import ProgrammingError
from twilio.request_validator import RequestValidator

from turncall_control import app as composition
from turncall_control.auth import GRANTS, Finds, Permission, Role
from turncall_control.db.engine import in_project
from turncall_control.plane import Slice
from turncall_proto import ids

OF_ROLES = frozenset().union(*GRANTS.values())
UNGRANTED = frozenset({Permission.OPEN, Permission.SIGNED, Permission.PLATFORM})
UNPAGED = {"/v1/numbers/available", "/v1/usage", "/v1/webrtc/ice-servers"}
INBOUND = "/webhooks/twilio/voice/inbound"


def routes():
    """Every method and path of the API, with its declaration."""
    made: Litestar = composition.assembled(composition.SLICES, [], None)
    return [
        (next(iter(handler.http_methods)), route.path_format, handler)
        for route in made.routes
        if isinstance(route, HTTPRoute)
        for handler in sorted(route.route_handlers, key=str)
        if handler.http_methods != {"OPTIONS"}
    ]


ROUTES = routes()
OF_KEYS = [(method, path, handler) for method, path, handler in ROUTES if handler.opt["permission"] in OF_ROLES]
NAMED = [entry for entry in OF_KEYS if entry[2].opt["finds"].how == "path"]


SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"


def named(entries):
    """Test ids: the operation's name."""
    return [handler.handler_name for _, _, handler in entries]


def bodies(a_config, agent_id):
    """A body that each route with one accepts."""
    return {
        "change_project": {"name": "Renamed"},
        "create_key": {"name": "key", "role": "viewer"},
        "rotate_key": {},
        "create_agent": {"name": "Agent", "config": a_config()},
        "validate_agent": {"config": a_config()},
        "import_agent": {"name": "Imported", "config": a_config()},
        "create_outbound_call": {"to": "+14155550123", "from": "+15550100003", "agent_id": agent_id},
        "create_client_token": {"agent_id": agent_id},
        "connect_browser": {"sdp": SDP, "type": "offer", "requestData": {"agent_id": agent_id}},
        "trickle_candidates": {"pc_id": "call_" + "0" * 32, "candidates": []},
        "change_call": {"metadata": {"ticket": "1"}},
        "say": {"text": "Hello."},
        "inject": {"text": "The caller is Ada."},
        "transfer_call": {"to": "+15550100200"},
        "hand_off": {"agent_id": "agt_" + "0" * 32},
        "send_dtmf": {"digits": "1"},
        "create_session": {"agent_id": agent_id, "contact": "visitor-17"},
        "open_session": {"session": "a-link-of-nobody"},
        "create_message": {"to": "+14155550123", "from": "+15550100003", "text": "Hello.", "agent_id": agent_id},
        "write_message": {"text": "Hello.", "author": "operator"},
        "write_message_streamed": {"text": "Hello.", "author": "operator"},
        "create_takeaway": {"name": "contact", "schema": {"type": "object", "properties": {}}},
        "change_takeaway": {"description": "Other"},
        "create_knowledge_base": {"name": "Handbook", "embedder": None},
        "change_knowledge_base": {"description": "Other"},
        "search_knowledge_base": {"question": "When do you open?"},
        "add_page": {"url": "http://127.0.0.1:65000/page"},
        "delete_calls_of_number": {"number": "+15550109999"},
        "change_agent": {"name": "Other"},
        "put_draft": {"config": a_config()},
        "bind_number": {"number": "+15550100003", "routing": {"kind": "agent", "agent_id": agent_id}},
        "change_number": {"routing": {"kind": "agent", "agent_id": agent_id}},
        "create_webhook": {"url": "http://127.0.0.1:65000/hooks"},
        "change_webhook": {"description": "Other"},
        "redeliver_events": {"since": "2026-01-01T00:00:00Z"},
        "add_do_not_call": {"numbers": ["+14155550177"]},
        "put_credential": {"kind": "vendor", "vendor": "acme", "key": "a-key-of-this-test"},
        "verify_credential": {},
        "rotate_signing_secret": {},
        "put_test_suite": a_suite(),
        "create_test_run": {"agent_id": agent_id},
        "draft_scenario": {"name": "Again"},
        "replay_call": {"agent_id": agent_id},
        "put_test_schedule": {"cron": "0 7 * * *"},
    }


def a_suite(name="Suite"):
    """A suite of one scenario."""
    caller = {"kind": "script", "steps": [{"step": "say", "text": "Hello."}]}
    expects = [{"expect": "said", "any_of": ["hello"]}]
    return {"name": name, "scenarios": [{"name": "Greets", "caller": caller, "expects": expects}]}


@pytest.fixture(scope="module")
async def objects(control, carrier, a_config):
    """One object of every kind, all of one project: by the prefix of its id."""
    owner = await control.tenant()
    config = {"config": a_config()}
    agent = await owner.done("POST", "/v1/agents", {"name": "Theirs", **config})
    await owner.done("POST", f"/v1/agents/{agent['id']}/publish")
    (account,) = carrier.accounts.values()
    e164 = carrier.numbers.add(account.sid, "+15557770001", datetime.now(UTC)).phone_number
    number = await owner.done(
        "POST", "/v1/numbers", {"number": e164, "routing": {"kind": "agent", "agent_id": agent["id"]}}
    )
    key = (await owner.done("GET", "/v1/keys"))["items"][0]
    webhook = (await owner.done("POST", "/v1/webhooks", {"url": "http://127.0.0.1:65000/hooks", "is_enabled": False}))[
        "webhook"
    ]
    delivery = await owner.done("POST", f"/v1/webhooks/{webhook['id']}/test")
    session = await owner.done("POST", "/v1/sessions", {"agent_id": agent["id"], "contact": "visitor-17"})
    takeaway = await owner.done("POST", "/v1/takeaways", {"name": "theirs", "schema": {"type": "object"}})
    base = await owner.done("POST", "/v1/knowledge-bases", {"name": "Theirs", "embedder": None})
    document = await owner.done(
        "POST", f"/v1/knowledge-bases/{base['id']}/documents", files={"file": ("hours.txt", b"We open at nine.")}
    )
    suite = await owner.done("PUT", "/v1/test-suites", a_suite())
    await owner.done("PUT", f"/v1/test-suites/{suite['id']}/schedules/{agent['id']}", {"cron": "0 7 * * *"})
    run = await owner.done("POST", f"/v1/test-suites/{suite['id']}/runs", {"version_id": agent["draft"]["id"]})
    await owner.done("POST", f"/v1/test-runs/{run['id']}/cancel")
    await owner.done("PUT", "/v1/do-not-call", bodies(a_config, "")["add_do_not_call"])
    (entry,) = (await owner.done("GET", "/v1/do-not-call"))["items"]
    credential = await owner.done("PUT", "/v1/credentials", bodies(a_config, "")["put_credential"])
    sid = "CA" + "5" * 32
    form = {"CallSid": sid, "AccountSid": account.sid, "From": "+15550001111", "To": e164, "CallStatus": "ringing"}
    url = f"{control.config.public_url}{INBOUND}"
    signature = RequestValidator(account.auth_token).compute_signature(url, form)
    answer = await control.client.post(INBOUND, data=form, headers={"X-Twilio-Signature": signature})
    assert answer.status_code == 200, answer.text
    found = {
        ids.PROJECT: owner.project_id,
        ids.KEY: key["id"],
        ids.AGENT: agent["id"],
        ids.VERSION: agent["draft"]["id"],
        ids.NUMBER: number["id"],
        ids.WEBHOOK: webhook["id"],
        ids.DELIVERY: delivery["id"],
        ids.CREDENTIAL: credential["id"],
        ids.DO_NOT_CALL: entry["id"],
        ids.SESSION: session["id"],
        ids.KNOWLEDGE_BASE: base["id"],
        ids.DOCUMENT: document["id"],
        ids.SUITE: suite["id"],
        ids.RUN: run["id"],
        ids.TAKEAWAY: takeaway["id"],
        ids.CALL: ids.inbound_call_id("twilio", account.sid, sid),
    }
    for path in (f"/v1/calls/{found[ids.CALL]}", f"/v1/numbers/{number['id']}", f"/v1/agents/{agent['id']}"):
        await owner.done("GET", path)
    return found


def parameters(finds: Finds):
    """The path parameters by which a route finds its object, with the prefixes of their ids."""
    while finds.how == "path":
        yield finds.parameter, finds.prefix
        if finds.within is None:
            return
        finds = finds.within


def test_every_route_declares_who_may_call_it_and_what_it_finds():
    """No route is without a permission and an object, and each path parameter of an API route is part of the object."""
    assert len(ROUTES) > 30
    for method, path, handler in ROUTES:
        permission, finds = handler.opt["permission"], handler.opt["finds"]
        assert isinstance(permission, Permission), path
        assert isinstance(finds, Finds), path
        assert permission in OF_ROLES | UNGRANTED
        if path.startswith("/v1/"):
            assert permission not in (Permission.OPEN, Permission.SIGNED), f"{method} {path}"
            assert {name for name, _ in parameters(finds)} == set(handler_parameters(path)), f"{method} {path}"
            assert (finds.how == "platform") <= (permission is Permission.PLATFORM)


def handler_parameters(path):
    """The names in a path's template."""
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def test_application_with_an_undeclared_route_is_not_built():
    """Forgetting the declaration is noticed at the start, not by an attacker."""

    @get("/v1/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="lacks opt=needs"):
        composition.assembled([Slice(name="forgotten", routes=(forgotten,))], [], None)


@pytest.mark.parametrize(("method", "path", "handler"), OF_KEYS, ids=named(OF_KEYS))
async def test_every_route_obeys_the_matrix(control, a_config, method, path, handler):
    """Without a key it is 401, with a role that lacks the permission 403, with one that has it neither."""
    url = path
    for name, prefix in parameters(handler.opt["finds"]):
        url = url.replace(f"{{{name}}}", f"{prefix}_{'0' * 32}")
    body = bodies(a_config, "agt_" + "0" * 32).get(handler.handler_name)
    await control.anybody.refused(401, method, url, body)
    await control.operator.refused(401, method, url, body)
    for role in Role:
        api = await keyholder(control, role)
        status = (await api.ask(method, url, body)).status_code
        if handler.opt["permission"] in GRANTS[role]:
            assert status not in (401, 403, 500)
        else:
            assert status == 403


_holders: dict[tuple[int, Role], object] = {}


async def keyholder(control, role):
    """A key of a role, made once for each control plane."""
    if (id(control), role) not in _holders:
        _holders[id(control), role] = await control.tenant(role)
    return _holders[id(control), role]


@pytest.fixture(scope="module")
async def without_row_security(run, environ):
    """A control plane whose API login sees every project: only its queries keep projects apart."""
    async with run(environ | {"TURNCALL_DATABASE_API_URL": environ["TURNCALL_DATABASE_SYSTEM_URL"]}) as started:
        yield started


@pytest.fixture
def without_filters(control, monkeypatch):
    """A control plane whose queries forget the project: only row-level security keeps projects apart."""
    take_filters_off(monkeypatch)
    return control


def take_filters_off(monkeypatch):
    """Makes every query of every slice forget the project."""
    for module in [module for name, module in sys.modules.items() if name.startswith("turncall_control.")]:
        if hasattr(module, "owned"):
            monkeypatch.setattr(module, "owned", lambda column, project_id: true())


@pytest.fixture(params=["control", "without_row_security", "without_filters"])
def behind(request):
    """A control plane behind both walls, and behind each one alone."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("method", "path", "handler"), NAMED, ids=named(NAMED))
async def test_object_of_another_project_looks_missing(behind, objects, a_config, method, path, handler):
    """For every route with an id: a foreign one gets, to the last byte, the answer that a missing one gets."""
    intruder = await keyholder(behind, Role.ADMIN)
    body = bodies(a_config, "agt_" + "0" * 32).get(handler.handler_name)
    answers = []
    for digits in (None, "0" * 32):
        url = path
        for name, prefix in parameters(handler.opt["finds"]):
            url = url.replace(f"{{{name}}}", f"{prefix}_{digits}" if digits else objects[prefix])
        if handler.handler_name == "compare_test_runs":
            url += f"?before={f'{ids.RUN}_{digits}' if digits else objects[ids.RUN]}"
        answers.append(await intruder.refused(404, method, url, body) | {"request_id": ""})
    assert answers[0] == answers[1]


async def test_walls_are_what_hides_it(without_row_security, objects, monkeypatch):
    """With both walls off the same request shows the object, so the refusals above are their doing."""
    control = without_row_security
    intruder = await keyholder(control, Role.ADMIN)
    path = f"/v1/agents/{objects[ids.AGENT]}"
    await intruder.refused(404, "GET", path)
    take_filters_off(monkeypatch)
    await intruder.done("GET", path)


async def test_lists_show_nothing_of_another_project(behind, objects):
    """No list of a stranger contains an id of the owner's objects."""
    stranger = await behind.tenant()
    lists = [path for method, path, handler in OF_KEYS if method == "GET" and handler.opt["finds"].how == "project"]
    assert {"/v1/agents", "/v1/keys", "/v1/numbers", "/v1/calls"} <= set(lists)
    for path in lists:
        answer = await stranger.ask("GET", path, params={} if path in UNPAGED else {"limit": 200})
        assert answer.status_code == 200
        assert not [theirs for theirs in objects.values() if theirs in answer.text], path


async def test_every_table_of_a_project_is_behind_forced_row_security(control):
    """No table with a project's rows was forgotten, and neither login is above the rule."""
    tables = await control.sql(
        "select c.relname, c.relrowsecurity, c.relforcerowsecurity, "
        "  (select count(*) from pg_policy p where p.polrelid = c.oid) "
        "from pg_class c join pg_attribute a on a.attrelid = c.oid "
        "where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace "
        "and (a.attname = 'project_id' or c.relname = 'projects') and a.attnum > 0 group by c.oid"
    )
    assert {"projects", "api_keys", "agents", "agent_versions", "numbers", "calls"} <= {name for name, *_ in tables}
    assert [name for name, enabled, forced, policies in tables if not (enabled and forced and policies == 2)] == []
    logins = await control.sql("select rolsuper, rolbypassrls from pg_roles where rolname in ('api', 'system')")
    assert logins == [(False, False), (False, False)]


async def test_unnamed_project_sees_no_rows(control, objects):
    """A session of the API login that was never bound to a project sees every table empty, before and after others."""
    async with in_project(control.plane.database, objects[ids.PROJECT]) as session:
        assert await session.scalar(text("select count(*) from agents")) == 1
    for table in ("projects", "api_keys", "agents", "agent_versions", "numbers", "calls"):
        async with control.plane.database.api() as session:
            assert await session.scalar(text(f"select count(*) from {table}")) == 0


async def test_row_of_another_project_cannot_be_written(control, objects):
    """Naming one project, the API login cannot insert a row into another, nor move one there."""
    other = await control.tenant()
    theirs = ids.parsed(ids.PROJECT, objects[ids.PROJECT])
    insert = text("insert into agents (id, project_id, name, environment) values (uuidv7(), :p, 'x', 'staging')")
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with in_project(control.plane.database, other.project_id) as session:
            await session.execute(insert, {"p": theirs})
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with in_project(control.plane.database, other.project_id) as session:
            await session.execute(text("update api_keys set project_id = :p"), {"p": theirs})


async def test_project_is_named_in_every_transaction_of_a_session(control, objects):
    """A session that commits and goes on is still in its project, and its connection leaves with no project."""
    async with control.plane.database.api() as session:
        session.sync_session.info["project_id"] = objects[ids.PROJECT]
        for _ in range(2):
            assert await session.scalar(text("select count(*) from agents")) == 1
            await session.commit()
    async with control.plane.database.api() as session:
        assert not await session.scalar(text("select current_setting('app.project', true)"))
