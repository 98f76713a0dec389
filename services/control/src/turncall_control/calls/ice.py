"""How the ends of a call over WebRTC meet through address translation: STUN, and TURN with credentials that expire.

The credentials are those of coturn's ``use-auth-secret``: a name that holds its own end, and its HMAC-SHA1 as password.
"""

import hmac
import time
from base64 import b64encode
from typing import Final

from turncall_control.config import ControlConfig
from turncall_proto.ids import CallId
from turncall_proto.webrtc import IceServer

LASTS_S: Final = 4 * 3600
"""As long as the longest call: a relay may ask for the password again at any time."""


def servers(config: ControlConfig, call_id: CallId) -> tuple[IceServer, ...]:
    """What the operator has set up, for one call."""
    found: list[IceServer] = []
    if config.stun_urls:
        found.append(IceServer(urls=config.stun_urls))
    if config.turn_urls:
        username = f"{int(time.time()) + LASTS_S}:{call_id}"
        password = hmac.digest(config.turn_secret.reveal().encode(), username.encode(), "sha1")
        found.append(IceServer(urls=config.turn_urls, username=username, credential=b64encode(password).decode()))
    return tuple(found)
