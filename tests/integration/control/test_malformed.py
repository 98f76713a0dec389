"""Malformed input of every class, on every route: a 4xx of the one shape, never a 5xx, a hang or a trace."""

import json

import pytest
from litestar.routes import HTTPRoute

from turncall_control import app as composition
from turncall_control.auth import Permission
from turncall_control.http.body import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}


def requests_of(handler):
    """The method of a handler, and whether it reads a JSON body."""
    return next(iter(handler.http_methods)), "data" in handler.parsed_fn_signature.parameters


ROUTES = [
    (route.path_format, *requests_of(handler), handler.opt["permission"])
    for route in composition.assembled(composition.SLICES, [], None).routes
    if isinstance(route, HTTPRoute)
    for handler in sorted(route.route_handlers, key=str)
    if handler.http_methods != {"OPTIONS"}
]

BODIES = {
    "torn": (b'{"name": ', JSON, {400, 422}),
    "empty": (b"", JSON, {400}),
    "not json": (b"name=x", JSON, {400}),
    "invalid utf-8": (b'{"name": "\xff\xfe"}', JSON, {400, 422}),
    "lone surrogate": (b'{"name": "\\ud800"}', JSON, {400, 422}),
    "nul": (b'{"name": "a\\u0000b"}', JSON, {422}),
    "raw nul": (b'{"name": "a\x00b"}', JSON, {400, 422}),
    "array": (b"[]", JSON, {422}),
    "null": (b"null", JSON, {422}),
    "number": (b"1e400", JSON, {400, 422}),
    "wrong types": (b'{"name": {}, "config": 5, "role": [], "agent_id": null, "number": 1}', JSON, {422}),
    "huge number": (b'{"name": ' + b"9" * 5000 + b"}", JSON, {400, 422}),
    "negative huge number": (b'{"overlap_s": -1' + b"0" * 400 + b', "name": -1e400}', JSON, {400, 422}),
    "same field twice": (b'{"surprise": 1, "surprise": 2}', JSON, {400, 422}),
    "byte order mark": (b"\xef\xbb\xbf{}", JSON, {400, 422}),
    "utf-16": ('{"name": "x"}'.encode("utf-16"), JSON, {400, 422}),
    "wide": (b'{"surprise": [' + b"0," * 400_000 + b"0]}", JSON, {422}),
    "many fields": (b"{" + b",".join(b'"f%d": 1' % i for i in range(50_000)) + b"}", JSON, {422}),
    "gzip": (b"\x1f\x8b\x08\x00", JSON | {"content-encoding": "gzip"}, {400, 415, 422}),
    "multipart without boundary": (b"--x", {"content-type": "multipart/form-data"}, {415}),
    "unknown field": (b'{"surprise": true}', JSON, {422}),
    "deep": (b'{"name":' + b"[" * 50_000 + b"]" * 50_000 + b"}", JSON, {400}),
    "deep and torn": (b"[" * 500_000, JSON, {400}),
    "too long": (b'"' + b"x" * MAX_BODY_BYTES + b'"', JSON, {413}),
    "text": (b"{}", {"content-type": "text/plain"}, {415}),
    "form": (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, {415}),
    "no type": (b"{}", {}, {415}),
    "bad type": (b"{}", {"content-type": "a/b/c; ="}, {415}),
    "bad charset": (b"{}", {"content-type": "application/json; charset=klingon"}, {400, 415, 422}),
}

EVERYWHERE = {"torn", "deep", "too long"}
"""What is also sent to the routes that read no JSON: whatever a body holds is alike to them."""

IDS = {
    "word": "nonsense",
    "other kind": "xyz_" + "0" * 32,
    "short": "agt_12",
    "encoded nul": "%00",
    "encoded slash": "..%2F..%2Fetc",
    "quote": "'%20or%201=1--",
    "not utf-8": "%ff%fe",
    "long": "a" * 5000,
    "unicode": "%F0%9F%93%9E",
    "spaces": "%20",
}

QUERIES = [
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=1.5",
    "limit=abc",
    "limit=99999999999999999999",
    "limit=",
    "limit=1&limit=x",
    "cursor=",
    "cursor=%00",
    "cursor=AAAA",
    "cursor=W10",
    "cursor=WyJhIl0",
    "cursor=" + "A" * 401,
    "cursor=%ff",
    "cursor=é",
]


def url_of(path, value="0" * 8):
    """A path with something in the place of each parameter."""
    return "/".join(value if part.startswith("{") else part for part in path.split("/"))


def check(response, shape):
    """Whatever came back: no 5xx, and every error in the one shape."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        shape(response)


@pytest.mark.parametrize("case", BODIES)
async def test_malformed_body(control, tenant, problem_of, case):
    """Every route that reads a body refuses it with the right status; no other route stumbles over one."""
    content, headers, expected = BODIES[case]
    spare = (await control.tenant()).project_id  # the operator's requests delete it
    tried = 0
    for path, method, reads_body, permission in ROUTES:
        if not reads_body and case not in EVERYWHERE:
            continue
        api = control.operator if permission is Permission.PLATFORM else tenant
        url = url_of(path, spare if permission is Permission.PLATFORM else tenant.project_id)
        response = await control.client.request(method, url, content=content, headers=api.headers | headers)
        check(response, problem_of)
        if reads_body and "{" not in path:
            tried += 1
            assert response.status_code in expected, f"{method} {path}: {response.text}"
    assert tried >= 5


@pytest.mark.parametrize("case", IDS)
async def test_malformed_id(control, tenant, problem_of, case):
    """An id that cannot be one is not found, on every route that takes one, whatever the body."""
    for path, method, reads_body, permission in ROUTES:
        if "{" not in path or not path.startswith("/v1/"):
            continue
        api = control.operator if permission is Permission.PLATFORM else tenant
        body = json.dumps({"name": "x"}).encode() if reads_body else b""
        response = await control.client.request(
            method, url_of(path, IDS[case]), content=body, headers=api.headers | JSON
        )
        problem_of(response)
        assert response.status_code == 404, f"{method} {path}: {response.text}"


@pytest.mark.parametrize("query", QUERIES)
async def test_malformed_query(control, tenant, problem_of, query):
    """Every list refuses a bad page with a 422 that names the parameter; no other route stumbles over it."""
    spare = (await control.tenant()).project_id  # the operator's requests delete it
    for path, method, _, permission in ROUTES:
        api = control.operator if permission is Permission.PLATFORM else tenant
        url = f"{url_of(path, spare if permission is Permission.PLATFORM else tenant.project_id)}?{query}"
        response = await control.client.request(method, url, headers=api.headers)
        check(response, problem_of)
        if path in ("/v1/projects", "/v1/keys", "/v1/agents", "/v1/numbers") and method == "GET":
            assert response.status_code == 422, f"{path}?{query}: {response.text}"
            assert response.json()["errors"][0]["field"] in ("limit", "cursor")


@pytest.mark.parametrize("query", ["enviroment=production", "page=2", "limit=5&LIMIT=5", "%00=1"])
async def test_misspelt_parameter_is_refused_by_name(tenant, query):
    """A filter that does not exist is a 422, not a list of everything."""
    problem = await tenant.refused(422, "GET", f"/v1/agents?{query}")
    assert problem["errors"][0]["message"].startswith("There is no such parameter")


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("DELETE", "/v1/agents", 405, "method-not-allowed"),
        ("POST", "/health", 405, "method-not-allowed"),
        ("TRACE", "/v1/agents", 405, "method-not-allowed"),
        ("BREW", "/v1/agents", 405, "method-not-allowed"),
        ("GET", "/docs/../../etc/passwd", 404, "not-found"),
        ("GET", "/docs/routes.py", 404, "not-found"),
    ],
)
async def test_framework_errors_have_the_one_shape(control, method, path, status, name):
    """What no route takes is told in the same words as everything else."""
    problem = await control.anybody.refused(status, method, path)
    assert problem["type"] == f"urn:turncall:problem:{name}"


async def test_options_is_answered_on_every_route(control):
    """Asking a path what it takes needs no key and is no error; the answer names every method, and no other."""
    for path, *_ in ROUTES:
        response = await control.client.options(url_of(path))
        assert response.status_code == 204, f"{path}: {response.text}"
        taken = {method for other, method, *_ in ROUTES if other == path}
        assert set(response.headers["allow"].split(", ")) == {"OPTIONS", *taken}


async def test_unforeseen_error_says_nothing_but_its_id(control, tenant, monkeypatch, problem_of, caplog):
    """A defect is a 500 with a request id that finds the trace in the log, and neither trace nor message in it."""

    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("turncall_control.keys.repository.page", broken)
    response = await tenant.ask("GET", "/v1/keys", headers={"X-Request-ID": "find-me-later"})
    document = problem_of(response)
    assert response.status_code == 500
    assert document["type"] == "urn:turncall:problem:internal"
    assert document["request_id"] == "find-me-later"
    assert "hunter2" not in response.text


@pytest.mark.parametrize("given", ["short", "has space in it", "x" * 129, "a\tb-c-d-e", "späte-id-nummer"])
async def test_harmful_request_id_is_replaced(control, given):
    """An id that could confuse a log is not taken over."""
    response = await control.client.get("/health", headers={"X-Request-ID": given.encode("latin-1")})
    assert response.headers["x-request-id"] not in ("", given)
