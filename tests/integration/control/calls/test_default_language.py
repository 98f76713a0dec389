"""What is spoken: an agent's own language, else its project's, on every way to a conversation."""

from typing import Any

import pytest

from turncall_proto import ids
from turncall_proto.ids import CallId
from turncall_testkit.pen import writing

from .test_handoffs import another_agent, wishes


@pytest.mark.proves("settings.default_language")
async def test_agents_without_a_language_speak_the_projects(desk: Any, worker: Any, sid: str, call_id: CallId) -> None:
    """English until the project says otherwise; then its language for callers, at the next epoch, in writing and in
    tests. An agent with a language of its own keeps it, and what is stored and exported stays without one."""
    await desk.rings(sid)
    first = worker.offers[-1].plan
    assert first.agent.language == "en"
    await worker.opens(first)
    changed = await desk.http.patch(
        f"/v1/projects/{desk.project_id}", json={"settings": {"default_language": "de"}}, headers=await desk.admin()
    )
    assert changed.json()["settings"]["default_language"] == "de"

    speaker, _ = await another_agent(desk, "Bonjour.", language="fr-FR")
    own = await wishes(desk, first, speaker)
    assert own.plan is not None, own.detail
    assert own.plan.agent.language == "fr-FR"
    back = await wishes(desk, own.plan, desk.agent_id)
    assert back.plan is not None, back.detail
    assert (back.plan.epoch, back.plan.agent.language) == (3, "de")
    await desk.rings("CA" + "d" * 32)
    assert worker.offers[-1].plan.agent.language == "de"

    async with writing(desk.bus) as pen:
        body = {"agent_id": desk.agent_id, "contact": "besucher-1"}
        session = (await desk.http.post("/v1/sessions", json=body, headers=desk.bearer)).json()
        await desk.http.post(
            f"/v1/sessions/{session['id']}/messages", json={"text": "Hallo"}, headers=desk.bearer, timeout=20
        )
        assert [turn.plan.agent.language for turn in pen.turns] == ["de"]

    assert await tried_in(desk) == "de"
    exported = (await desk.get(f"/v1/agents/{desk.agent_id}/export")).json()
    assert exported["config"]["language"] == ""


async def tried_in(desk: Any) -> str:
    """The language in which a run of a test suite has the desk's agent speak."""
    scenario = {
        "name": "Greets",
        "caller": {"kind": "script", "steps": [{"step": "say", "text": "Hallo."}]},
        "expects": [{"expect": "said", "any_of": ["hello"]}],
    }
    suite = await desk.http.put("/v1/test-suites", json={"name": "Desk", "scenarios": [scenario]}, headers=desk.bearer)
    runs = f"/v1/test-suites/{suite.json()['id']}/runs"
    run = await desk.http.post(runs, json={"agent_id": desk.agent_id}, headers=desk.bearer)
    assert run.status_code == 201, run.text
    ((language,),) = await desk.rows(
        "select agent->>'language' from test_runs where id = %s", ids.parsed(ids.RUN, run.json()["id"])
    )
    await desk.http.post(f"/v1/test-runs/{run.json()['id']}/cancel", headers=desk.bearer)
    return str(language)
