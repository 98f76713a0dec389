"""X-Twilio-Signature: which URL is signed, and how."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

SIGNATURE_HEADER = "X-Twilio-Signature"

type Pairs = Iterable[tuple[str, str]]


def sign(auth_token: str, url: str, form: Pairs = ()) -> str:
    """Base64 of the HMAC-SHA1 over `url` and the sorted form.

    Names sort with upper case first; the values of a repeated name are sorted and counted once, as the vendor's
    own library does. Blank values count. A GET has no form: its parameters are in the URL.
    """
    values: dict[str, set[str]] = {}
    for name, value in form:
        values.setdefault(name, set()).add(value)
    text = url + "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def voice_url(url: str) -> str:
    """The form of `url` that a voice webhook signs: no fragment, no user info, and no port over https."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme == "https":
        host = _without_port(host)
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def text_url(url: str) -> str:
    """The form of `url` that a webhook about a text signs: no fragment, no user info, its port if it has one."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _without_port(host: str) -> str:
    # "[::1]:443" and "[::1]" both keep their brackets.
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (not name.startswith("[") or name.endswith("]")) else host
