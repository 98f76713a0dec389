"""Twilio's refusals in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.response import Response

from turncall_control.carriers.base import (
    Barred,
    CarrierError,
    Gone,
    LimitReached,
    NoSuchNumber,
    NotAuthorised,
    NotInProgress,
    OptedOut,
    OutOfCredit,
    Rejected,
    Unavailable,
    Unverified,
)

_CALL_NOT_IN_PROGRESS: Final = 21220
_NO_SUCH_NUMBER: Final = frozenset({13223, 13224, 21201, 21211, 21214, 21217, 21401, 21612, 21614})
"""The number is missing, malformed, cannot be reached, or is none that takes messages."""
_BARRED: Final = frozenset({13227, 21215, 21216, 21408, 21606})
"""The account may not call, or write to, this number: geography, a block list, a number that is not for it."""
_UNVERIFIED: Final = frozenset({13214, 21210, 21219, 21608})
"""A trial, or a caller id that is not the account's."""
_OUT_OF_CREDIT: Final = frozenset({10001, 20005, 30002})
"""The account is not active (twilio.com/docs/api/errors: the first cause named is its balance)."""
_OPTED_OUT: Final = 21610
_LIMITS: Final = frozenset({10004, 20429})
"""Too many calls, or requests, at a time."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns the vendor's exceptions into ours; addresses and request bodies stay behind."""
    try:
        yield
    except TwilioRestException as error:
        raise _ours(error.status, error.code, error.msg) from error
    except TwilioServiceException as error:
        raise _ours(error.status, error.code, error.detail or error.title) from error
    except TwilioException as error:
        refused = next((part for part in error.args if isinstance(part, Response)), None)
        if refused is None:
            raise Unavailable("Twilio gave an answer that is not understood") from error
        # Lists raise this one, with the response for its second argument (twilio.base.page).
        raise _ours(refused.status_code, None, "the list was refused") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"Twilio gave an answer that is not understood: {type(error).__name__}") from error


def _ours(status: int, code: int | None, message: str) -> CarrierError:
    if code == _CALL_NOT_IN_PROGRESS:
        return NotInProgress(f"Twilio {code}: the call is not in progress", code=code)
    if code == _OPTED_OUT:
        return OptedOut(f"Twilio {code}: the person wants no messages from this number", code=code)
    if code in _NO_SUCH_NUMBER:
        return NoSuchNumber(f"Twilio {code}: the number cannot be reached", code=code)
    for kind, codes in ((Barred, _BARRED), (Unverified, _UNVERIFIED), (OutOfCredit, _OUT_OF_CREDIT)):
        if code in codes:
            return kind(f"Twilio {code}: {_without_numbers(message)}", code=code)
    if status == 404:
        return Gone(f"Twilio {code}: no such resource in this account", code=code)
    if status in (401, 403):
        return NotAuthorised("Twilio does not accept the account id or the auth token", code=code)
    if status == 429 or code in _LIMITS:
        return LimitReached(f"Twilio {code}: too many requests for this account", code=code)
    if status >= 500:
        return Unavailable(f"Twilio answered {status}", code=code)
    return Rejected(f"Twilio {code}: {message}", code=code)


def _without_numbers(message: str) -> str:
    """A refusal without the phone numbers that Twilio quotes in it."""
    return re.sub(r"\+?\d{6,}", "…", message)
