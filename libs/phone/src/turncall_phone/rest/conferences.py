"""Conferences and their participants over REST: list, fetch, end; hold, mute and kick."""

from collections.abc import Sequence

from turncall_phone.accounts import Account
from turncall_phone.conference import Conference, Participant
from turncall_phone.notices import API_VERSION, rfc2822
from turncall_phone.rest.errors import invalid, not_found
from turncall_phone.rest.forms import Form
from turncall_phone.rest.pages import PAGE_KEYS, page
from turncall_phone.switchboard import Switchboard

type FormPairs = Sequence[tuple[str, str]]

FILTERS = frozenset({"FriendlyName", "Status"})
UPDATE_KEYS = frozenset({"Muted", "Hold"})
NOT_EMULATED = frozenset(
    [
        "AnnounceMethod",
        "AnnounceUrl",
        "BeepOnExit",
        "CallSidToCoach",
        "Coaching",
        "EndConferenceOnExit",
        "HoldMethod",
        "HoldUrl",
        "WaitMethod",
        "WaitUrl",
    ]
)


def index(board: Switchboard, account: Account, pairs: FormPairs, path: str, *, is_strict: bool) -> dict[str, object]:
    """A page of the account's conferences, newest first; raises RestError."""
    form = Form(pairs, known=FILTERS | PAGE_KEYS, is_strict=is_strict)
    found = [
        one
        for one in board.exchange.conferences
        if one.account.sid == account.sid
        and form.text("FriendlyName") in ("", one.name)
        and form.text("Status") in ("", one.status)
    ]
    return page(found[::-1], show, key="conferences", path=path, form=form, filters=FILTERS)


def fetch(board: Switchboard, account: Account, sid: str, path: str) -> dict[str, object]:
    """One conference; raises RestError."""
    return show(_found(board, account, sid, path))


def update(
    board: Switchboard, account: Account, sid: str, pairs: FormPairs, path: str, *, is_strict: bool
) -> dict[str, object]:
    """Ends a conference; raises RestError."""
    conference = _found(board, account, sid, path)
    form = Form(pairs, known=frozenset({"Status"}), not_emulated=NOT_EMULATED, is_strict=is_strict)
    if form.text("Status") != "completed":
        raise invalid("Status must be completed")
    if not conference.is_over:
        conference.end((("ReasonConferenceEnded", "conference-ended-via-api"),))
    return show(conference)


def participants(
    board: Switchboard, account: Account, sid: str, pairs: FormPairs, path: str, *, is_strict: bool
) -> dict[str, object]:
    """A page of those who are in a conference; raises RestError."""
    conference = _found(board, account, sid, path)
    form = Form(pairs, known=PAGE_KEYS, is_strict=is_strict)
    return page(
        tuple(conference),
        lambda one: show_participant(conference, one),
        key="participants",
        path=path,
        form=form,
        filters=frozenset(),
    )


def participant(board: Switchboard, account: Account, sid: str, call_sid: str, path: str) -> dict[str, object]:
    """One of those who are in a conference; raises RestError."""
    return show_participant(*_in(board, account, sid, call_sid, path))


def update_participant(
    board: Switchboard, account: Account, sid: str, call_sid: str, pairs: FormPairs, path: str, *, is_strict: bool
) -> dict[str, object]:
    """Holds, mutes, or the opposite; raises RestError."""
    conference, found = _in(board, account, sid, call_sid, path)
    form = Form(pairs, known=UPDATE_KEYS, not_emulated=NOT_EMULATED, is_strict=is_strict)
    if form.has("Muted"):
        conference.mute(found, is_muted=form.text("Muted") == "true")
    if form.has("Hold"):
        conference.hold(found, is_held=form.text("Hold") == "true")
    return show_participant(conference, found)


def kick(board: Switchboard, account: Account, sid: str, call_sid: str, path: str) -> None:
    """Takes somebody out; raises RestError."""
    conference, found = _in(board, account, sid, call_sid, path)
    conference.kick(found)


def show(conference: Conference) -> dict[str, object]:
    """The conference as REST shows it."""
    uri = f"/{API_VERSION}/Accounts/{conference.account.sid}/Conferences/{conference.sid}"
    return {
        "sid": conference.sid,
        "account_sid": conference.account.sid,
        "api_version": API_VERSION,
        "friendly_name": conference.name,
        "status": conference.status,
        "region": "us1",
        "date_created": rfc2822(conference.created_at),
        "date_updated": rfc2822(conference.created_at),
        "reason_conference_ended": None,
        "call_sid_ending_conference": None,
        "uri": uri + ".json",
        "subresource_uris": {"participants": uri + "/Participants.json"},
    }


def show_participant(conference: Conference, one: Participant) -> dict[str, object]:
    """The participant as REST shows it."""
    account = conference.account.sid
    uri = f"/{API_VERSION}/Accounts/{account}/Conferences/{conference.sid}/Participants/{one.call.sid}.json"
    return {
        "account_sid": account,
        "call_sid": one.call.sid,
        "conference_sid": conference.sid,
        "label": None,
        "muted": one.is_muted,
        "hold": one.is_held,
        "coaching": False,
        "call_sid_to_coach": None,
        "start_conference_on_enter": one.starts,
        "end_conference_on_exit": one.ends,
        "status": "connected",
        "queue_time": str(one.call.queued_ms),
        "date_created": rfc2822(one.call.created_at),
        "date_updated": rfc2822(one.call.updated_at),
        "uri": uri,
    }


def _found(board: Switchboard, account: Account, sid: str, path: str) -> Conference:
    conference = board.exchange.conferences.find(account, sid)
    if conference is None:
        raise not_found(path)
    return conference


def _in(board: Switchboard, account: Account, sid: str, call_sid: str, path: str) -> tuple[Conference, Participant]:
    conference = _found(board, account, sid, path)
    found = conference.find(call_sid)
    if found is None:
        raise not_found(path)
    return conference, found
