"""Takeaways: schemas with a name, which agents of their project share."""

CONTACT = {
    "type": "object",
    "properties": {"email": {"$ref": "#/$defs/address"}},
    "$defs": {"address": {"type": "string", "format": "email"}},
}


async def test_a_takeaway_is_made_named_and_kept_while_it_is_in_use(control, tenant, a_config):
    """Its schema stands on its own; agents of its project alone may name it, and it goes when none does."""
    made = await tenant.done("POST", "/v1/takeaways", {"name": "contact", "schema": CONTACT, "instructions": "Of all."})
    assert (made["schema"], made["instructions"]) == (CONTACT, "Of all.")
    await tenant.refused(409, "POST", "/v1/takeaways", {"name": "contact", "schema": CONTACT})
    for schema, field in (
        ({"type": "array"}, "schema.type"),
        ({"type": "object", "properties": {"a": {"$ref": "https://x.example/s"}}}, "schema.properties.a.$ref"),
        ({"type": "objekt"}, "schema.type"),
    ):
        problem = await tenant.refused(422, "PATCH", f"/v1/takeaways/{made['id']}", {"schema": schema})
        assert [fault["field"] for fault in problem["errors"]] == [field]
    changed = await tenant.done("PATCH", f"/v1/takeaways/{made['id']}", {"description": "Who it was."})
    assert (changed["description"], changed["schema"]) == ("Who it was.", CONTACT)
    assert changed["changed_at"] > made["changed_at"]
    assert [one["id"] for one in (await tenant.done("GET", "/v1/takeaways?name=contact"))["items"]] == [made["id"]]

    agent = {"name": "Asks", "config": a_config(analysis={"takeaways": ["contact", "nobody"]})}
    problem = await tenant.refused(422, "POST", "/v1/agents", agent)
    assert [fault["field"] for fault in problem["errors"]] == ["config.analysis.takeaways[1]"]
    agent["config"]["analysis"]["takeaways"] = ["contact"]
    other = await control.tenant()
    await other.refused(422, "POST", "/v1/agents", agent)
    asks = await tenant.done("POST", "/v1/agents", agent)
    await tenant.refused(409, "DELETE", f"/v1/takeaways/{made['id']}")
    await tenant.done("DELETE", f"/v1/agents/{asks['id']}")
    await tenant.done("DELETE", f"/v1/takeaways/{made['id']}")
    await tenant.refused(404, "GET", f"/v1/takeaways/{made['id']}")
