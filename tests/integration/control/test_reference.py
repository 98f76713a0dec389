"""The reference and the metrics: complete, of one shape, and nothing from elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import turncall_control as control_package
import turncall_proto
from turncall_control import app as composition
from turncall_control import openapi

URL = re.compile(r"https?://|//[a-z]", re.IGNORECASE)


class Loaded(HTMLParser):
    """The addresses that a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Scripts, styles, pictures, frames."""
        wanted = {"script": "src", "link": "href", "img": "src", "iframe": "src"}.get(tag)
        self.addresses += [value or "" for name, value in attrs if name == wanted]


async def test_reference_page_loads_without_the_internet(control):
    """The page and its own script name no other host, all they load is served here, and the policy forbids the rest."""
    page = await control.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert not URL.search(page.text)
    loaded = Loaded()
    loaded.feed(page.text)
    served = [address for address in loaded.addresses if not address.startswith("data:")]
    assert len(served) == 3
    for address in served:
        asset = await control.client.get(address)
        assert asset.status_code == 200
        assert len(asset.content) > 200
    assert not URL.search((await control.client.get("/docs/start.js")).text)


async def test_document_describes_every_route_to_the_last_field(control):
    """Each operation has its roles, typed answers and errors of the one shape; every reference leads somewhere."""
    document = (await control.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    components = document["components"]["schemas"]
    text = json.dumps(document)
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) == set(components)
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)) > 25
    for operation in operations:
        assert operation["x-permission"]
        for status, response in operation["responses"].items():
            (media, body), *_ = response.get("content", {"none": {}}).items()
            if status >= "400" and operation["operationId"] != "get_readiness":
                assert (media, body["schema"]) == (
                    "application/problem+json",
                    {"$ref": "#/components/schemas/Problem"},
                ), operation["operationId"]


async def test_tagged_unions_and_personal_fields_are_visible_in_the_document(control):
    """A tool's kind is a constant with a discriminator, and what is personal is marked."""
    schemas = (await control.client.get("/openapi.json")).json()["components"]["schemas"]
    assert schemas["WebhookTool"]["properties"]["kind"]["enum"] == ["webhook"]
    assert schemas["AgentSpec"]["properties"]["tools"]["items"]["discriminator"]["propertyName"] == "kind"
    assert schemas["NumberView"]["properties"]["e164"]["x-personal"] is True
    assert schemas["AgentSpec"]["additionalProperties"] is False


async def test_published_document_is_current():
    """The document in the contract's package is the one that the routes make; run `make schema` when it is not."""
    published = Path(turncall_proto.__file__).parent / "schema" / "openapi.json"
    assert published.read_bytes() == composition.reference()


async def test_metrics_count_requests_by_route_and_never_by_object(control, tenant):
    """Requests are timed under the template of their route; strange paths and methods make no label of their own."""
    await tenant.ask("GET", "/v1/agents/agt_" + "0" * 32)
    await tenant.ask("GET", "/surprise/path")
    await tenant.ask("BREW", "/surprise/path")
    page = (await control.client.get("/metrics")).text
    assert 'turncall_http_request_seconds_count{method="GET",route="/v1/agents/{agent_id}",status="404"}' in page
    assert 'turncall_http_request_seconds_count{method="any",route="none",status="404"}' in page
    assert "turncall_build_info" in page
    assert "surprise" not in page
    assert "BREW" not in page


def test_matrix_of_roles_in_the_readme_and_the_reference_is_the_guards():
    """Both tables are made from what the guard reads, with a line for every route; run `make schema` if not."""
    table = openapi.matrix(composition.assembled(composition.SLICES, [], None))
    document = json.loads(composition.reference())
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    for operation in operations:
        if operation["x-permission"] not in ("open", "signed"):
            (line,) = [line for line in table.splitlines() if f"`{operation['operationId']}`" in line]
            assert f"`{operation['x-permission']}`" in line
            assert line.endswith(f"| {', '.join(operation['x-roles']) or 'the operator'} |")
    assert table in document["info"]["description"]
    assert table in (Path(control_package.__file__).parents[2] / "README.md").read_text()
