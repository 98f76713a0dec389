"""Every POST that acts on the world takes an Idempotency-Key; the others say why a repeat of theirs does no harm."""

from typing import Any

import msgspec
import pytest

from turncall_proto.publish import SCHEMA_FOLDER

DOCUMENT: dict[str, Any] = msgspec.json.decode((SCHEMA_FOLDER / "openapi.json").read_bytes())
POSTS = {
    item["post"]["operationId"]: any(
        parameter["name"] == "Idempotency-Key" for parameter in item["post"].get("parameters", [])
    )
    for item in DOCUMENT["paths"].values()
    if "post" in item
}

_SECRET = "shows a secret, which is not kept for a day"
_OPERATOR = "the operator's: keys are kept for a project"
_SAME = "a repeat finds it done and gets the same answer"
_READS = "changes nothing"
HARMLESS = {
    "connect_browser": "a page that offers again has a new connection, and its call without one ends by itself",
    "archive_agent": _SAME,
    "unarchive_agent": _SAME,
    "configure_number": _SAME,
    "take_session_over": _SAME,
    "release_session": _SAME,
    "end_session": _SAME,
    "cancel_test_run": _SAME,
    "write_message_streamed": "an answer that streams is not kept: who must repeat writes without a stream",
    "delete_calls_of_number": _SAME,
    "search_knowledge_base": _READS,
    "open_session": _READS,
    "validate_agent": _READS,
    "draft_scenario": _READS,
    "verify_credential": _READS,
    "make_recording_link": _READS,
    "create_key": _SECRET,
    "create_client_token": _SECRET,
    "rotate_key": _SECRET,
    "create_first_key": _SECRET,
    "rotate_signing_secret": _SECRET,
    "create_webhook": _SECRET,
    "rotate_webhook_secret": _SECRET,
    "create_project": _OPERATOR,
    "purge_project": _OPERATOR,
    "drain_worker": _OPERATOR,
    "replay_parked_messages": _OPERATOR,
    "drop_parked_messages": _OPERATOR,
}


@pytest.mark.parametrize("name", sorted(POSTS))
def test_a_post_takes_a_key_or_says_why_it_need_not(name: str) -> None:
    """One of the two and not both: `needs(…, idempotent=True)`, or a reason here."""
    assert POSTS[name] is not (name in HARMLESS), f"{name}: declare it idempotent, or say why a repeat does no harm"


def test_no_reason_outlives_its_route() -> None:
    """An exception for a route that is gone is an error."""
    assert HARMLESS.keys() - POSTS.keys() == set()
