"""A carrier's webhook: what it says, and what its signature proves."""

import re
from typing import Any, Final

from litestar import Request
from litestar.datastructures import FormMultiDict
from msgspec import Struct

from turncall_control.auth import NOTHING, Permission, needs
from turncall_control.carriers import twilio
from turncall_control.carriers.accounts import Proof
from turncall_control.errors import ControlError
from turncall_control.plane import Plane
from turncall_control.wallet import TwilioAccount

OPT: Final = needs(Permission.SIGNED, NOTHING)

_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-f]{32}", re.ASCII)


class Asked(Struct, frozen=True, kw_only=True):
    """A signed request: its form, and what the signature proves."""

    form: FormMultiDict
    proof: Proof


class SignatureRefused(ControlError):
    """A webhook that is not signed with a token of its account that somebody here holds."""

    status, name, title = 403, "signature-refused", "The request is not signed by the carrier"


async def asked_by(request: Request[Any, Any, Any], plane: Plane) -> Asked:
    """What a signed request says, and whose signature it is.

    Raises `SignatureRefused` for everything else, garbage included; nothing that the form says is believed before.
    """
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope["query_string"]
    asked = (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
    url, signature = plane.config.public_url + asked, request.headers.get(twilio.SIGNATURE_HEADER, "")
    form = twilio.form_of(await request.body())

    def signed_with(account: TwilioAccount) -> bool:
        return twilio.is_signed(form, url=url, signature=signature, auth_tokens=account.auth_tokens)

    claimed = form.get("AccountSid", "")
    proof = await plane.accounts.prove(claimed, signed_with) if _ACCOUNT_SID.fullmatch(claimed) else None
    if proof is None:
        raise SignatureRefused("no account here signed it; check the auth token and TURNCALL_PUBLIC_URL")
    return Asked(form=form, proof=proof)


def number_in(text: str | None, max_digits: int = 9) -> int | None:
    """A count in a form; absent when it is blank or no count."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= max_digits else None
