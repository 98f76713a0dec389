"""Test suites: what is refused when it is written, what a run takes, and how it ends; without anybody who talks."""

import json

import pytest

from turncall_proto import ids

CALLER = {"kind": "script", "steps": [{"step": "say", "text": "Hello."}]}
SAID = {"expect": "said", "any_of": ["hello"]}


def suite(*expects, name="Desk", **changes):
    """A suite of one scenario."""
    scenario = {"name": "Greets", "caller": CALLER, "expects": list(expects or [SAID])} | changes.pop("scenario", {})
    return {"name": name, "scenarios": [scenario]} | changes


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        (suite({"expect": "not_said", "none_of": ["bye"]}), "scenarios[0]", "does nothing"),
        (suite({"expect": "tool_not_called", "tool": "book"}), "scenarios[0]", "does nothing"),
        (suite({"expect": "ended", "reason": "customer_ended_call"}), "scenarios[0]", "does nothing"),
        (suite(scenario={"expects": []}), "scenarios[0].expects", ""),
        (suite({"expect": "said", "any_of": ["…"]}), "scenarios[0].expects[0]", "without a word"),
        (suite({"expect": "said", "any_of": ["a"], "surprise": 1}), "scenarios[0].expects[0].surprise", ""),
        (suite(scenarios=2 * suite()["scenarios"]), "", "distinct names"),
        (suite(judge={"vendor": "nobody"}), "judge.vendor", "no llm vendor"),
        (
            suite(scenario={"caller": {"kind": "persona", "who": "A", "goal": "B", "model": {"vendor": "nobody"}}}),
            "scenarios[0].caller.model.vendor",
            "no llm vendor",
        ),
    ],
)
async def test_a_suite_that_cannot_tell_good_from_bad_is_refused(tenant, document, field, message):
    """A scenario that an agent which does nothing would pass, above all; the fault is named by its place."""
    problem = await tenant.refused(422, "PUT", "/v1/test-suites", document)
    assert field in json.dumps(problem["errors"])
    assert message in json.dumps(problem["errors"])


async def test_a_suite_is_kept_by_its_name_and_runs_keep_what_they_began_with(control, tenant, a_config):
    """Put again it is the same suite; a run shows the suite as it was, also when that is gone."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    draft = {"version_id": agent["draft"]["id"]}
    first = await tenant.done("PUT", "/v1/test-suites", suite())
    runs = f"/v1/test-suites/{first['id']}/runs"
    await tenant.refused(422, "POST", runs, {"agent_id": agent["id"]})  # nothing of it is published
    await tenant.refused(422, "POST", runs, draft | {"agent_id": agent["id"]})
    await tenant.refused(422, "POST", runs, {"version_id": f"ver_{'0' * 32}"})
    await tenant.refused(422, "POST", runs, draft | {"scenarios": ["Greets", "Nobody"]})
    run = await tenant.done(
        "POST", runs, draft | {"repeats": 3}, headers={**tenant.headers, "Idempotency-Key": "a-run"}
    )
    again = await tenant.done(
        "POST", runs, draft | {"repeats": 3}, headers={**tenant.headers, "Idempotency-Key": "a-run"}
    )
    assert again == run
    other = await tenant.done("PUT", "/v1/test-suites", suite(scenario={"name": "Renamed"}, description="New."))
    assert (other["id"], other["description"]) == (first["id"], "New.")
    assert [one["scenarios"] for one in (await tenant.done("GET", "/v1/test-suites?name=Desk"))["items"]] == [
        ["Renamed"]
    ]
    await tenant.done("DELETE", f"/v1/test-suites/{first['id']}")
    seen = await tenant.done("GET", f"/v1/test-runs/{run['id']}")
    assert (seen["suite_id"], seen["suite_name"], seen["outcome"]) == (None, "Desk", "pending")
    assert [result["scenario"] for result in seen["scenarios"]] == ["Greets"]
    trials = (await tenant.done("GET", f"/v1/test-runs/{run['id']}/trials?limit=2"))["items"]
    assert [(trial["number"], trial["repeat"]) for trial in trials] == [(1, 1), (2, 2)]
    assert (await tenant.done("GET", f"/v1/test-runs?agent_id={agent['id']}&state=running"))["items"][0]["id"] == run[
        "id"
    ]
    assert (await tenant.done("GET", f"/v1/test-runs?suite_id={first['id']}"))["items"] == []


async def test_a_run_that_is_cancelled_awaits_nothing_and_says_so_once(control, tenant, a_config, comes_true):
    """Of three conversations one has begun; none goes on, subscribers hear of it, and a repeat changes nothing."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    hook = await tenant.done(
        "POST", "/v1/webhooks", {"url": "http://127.0.0.1:65000/", "event_types": ["test_run.completed"]}
    )
    made = await tenant.done("PUT", "/v1/test-suites", suite())
    asked = {"version_id": agent["draft"]["id"], "repeats": 3, "at_once": 1}
    run = await tenant.done("POST", f"/v1/test-suites/{made['id']}/runs", asked)
    path = f"/v1/test-runs/{run['id']}"

    async def states():
        return [trial["state"] for trial in (await tenant.done("GET", f"{path}/trials"))["items"]]

    async def has_begun():
        return await states() == ["talking", "queued", "queued"]

    await comes_true(has_begun)
    for _ in range(2):
        over = await tenant.done("POST", f"{path}/cancel")
        assert (over["state"], over["outcome"]) == ("canceled", "canceled")
    assert await states() == ["canceled"] * 3
    told = (await tenant.done("GET", f"/v1/webhook-deliveries?webhook_id={hook['webhook']['id']}"))["items"]
    assert [one["type"] for one in told] == ["test_run.completed"]


async def test_a_job_that_nobody_answers_is_an_error_of_its_trial(control, tenant, a_config, comes_true):
    """When the job is given up, the run ends, and says that it could not be found out."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    made = await tenant.done("PUT", "/v1/test-suites", suite())
    run = await tenant.done("POST", f"/v1/test-suites/{made['id']}/runs", {"version_id": agent["draft"]["id"]})
    given_up = (
        "update jobs set state = 'failed', detail = 'Nobody answered' where id ="
        " (select job_id from test_trials where run_id = %s) returning 1"
    )

    async def is_given_up():
        return await control.sql(given_up, ids.parsed(ids.RUN, run["id"]))

    async def is_over():
        seen = await tenant.done("GET", f"/v1/test-runs/{run['id']}")
        return (seen["state"], seen["outcome"]) == ("completed", "error")

    await comes_true(is_given_up)
    await comes_true(is_over)
    (trial,) = (await tenant.done("GET", f"/v1/test-runs/{run['id']}/trials"))["items"]
    assert trial["detail"] == "Nobody answered"


async def test_a_project_has_so_many_runs_at_a_time(control, tenant, a_config, monkeypatch):
    """One more is refused, as is a run of more conversations than one may have."""
    monkeypatch.setattr("turncall_control.suites.starting.MOST_RUNNING", 1)
    monkeypatch.setattr("turncall_control.suites.starting.MOST_TRIALS", 2)
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    made = await tenant.done("PUT", "/v1/test-suites", suite())
    runs, asked = f"/v1/test-suites/{made['id']}/runs", {"version_id": agent["draft"]["id"]}
    await tenant.refused(422, "POST", runs, asked | {"repeats": 3})
    first = await tenant.done("POST", runs, asked)
    problem = await tenant.refused(409, "POST", runs, asked)
    assert problem["type"].endswith("too-many-test-runs")
    await tenant.done("POST", f"/v1/test-runs/{first['id']}/cancel")
    await tenant.done("POST", runs, asked)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "every morning"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"scenarios": ["Nobody"]}, "scenarios[0]"),
        ({"repeats": 51}, "repeats"),
    ],
)
async def test_a_schedule_that_could_not_be_kept_is_refused(tenant, a_config, changes, field):
    """The fault is named by its field, when it is written rather than when it is due."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    made = await tenant.done("PUT", "/v1/test-suites", suite())
    path = f"/v1/test-suites/{made['id']}/schedules/{agent['id']}"
    problem = await tenant.refused(422, "PUT", path, {"cron": "0 7 * * *"} | changes)
    assert field in [fault["field"] for fault in problem["errors"]]


async def test_a_schedule_that_is_due_begins_one_run_and_says_why_it_could_not(
    control, tenant, a_config, comes_true, monkeypatch
):
    """Of many times that passed unseen, one is made up for; without a published version the schedule tells, and while
    too many runs are under way it is put off for a little; a paused one begins nothing; deleted with its suite."""
    agent = await tenant.done("POST", "/v1/agents", {"name": "Tested", "config": a_config()})
    made = await tenant.done("PUT", "/v1/test-suites", suite())
    schedules = f"/v1/test-suites/{made['id']}/schedules"
    asked = {"cron": "0 7 * * *", "time_zone": "Asia/Tokyo", "repeats": 2}
    kept = await tenant.done("PUT", f"{schedules}/{agent['id']}", asked)
    assert (kept["next_at"][11:16], kept["last_run_id"], kept["problem"]) == ("22:00", None, "")

    async def standing():
        (one,) = (await tenant.done("GET", schedules))["items"]
        return one

    async def fall_due():
        await control.sql(
            "update test_schedules set next_at = now() - interval '3 days' where suite_id = %s returning 1",
            ids.parsed(ids.SUITE, made["id"]),
        )

    async def has_told():
        seen = await standing()
        return "no published version" in seen["problem"] and seen["next_at"] == kept["next_at"]

    await fall_due()
    await comes_true(has_told)
    await tenant.done("POST", f"/v1/agents/{agent['id']}/publish")

    async def is_put_off():
        seen = await standing()
        return "under way" in seen["problem"] and seen["next_at"] < kept["next_at"] and not seen["last_run_id"]

    with monkeypatch.context() as full:
        full.setattr("turncall_control.suites.starting.MOST_RUNNING", 0)
        await fall_due()
        await comes_true(is_put_off)

    async def has_begun():
        return (await standing())["last_run_id"]

    await fall_due()
    await comes_true(has_begun)
    seen = await standing()
    assert (seen["problem"], seen["next_at"]) == ("", kept["next_at"])
    (run,) = (await tenant.done("GET", f"/v1/test-runs?suite_id={made['id']}"))["items"]
    assert (run["id"], run["agent_id"]) == (seen["last_run_id"], agent["id"])
    await tenant.done("POST", f"/v1/test-runs/{run['id']}/cancel")
    paused = await tenant.done("PUT", f"{schedules}/{agent['id']}", asked | {"is_paused": True})
    assert (paused["next_at"], paused["is_paused"], paused["last_run_id"]) == (None, True, run["id"])
    await tenant.refused(404, "DELETE", f"{schedules}/agt_{'0' * 32}")
    await tenant.done("DELETE", f"{schedules}/{agent['id']}")
    assert (await tenant.done("GET", schedules))["items"] == []
