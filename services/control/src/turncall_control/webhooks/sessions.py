"""Events of conversations in writing, which belong to no call."""

from typing import Final

RECEIVED: Final = "message.received"
SENT: Final = "message.sent"
CREATED: Final = "session.created"
EXPIRED: Final = "session.expired"

SESSION_EVENTS: Final[dict[str, str]] = {
    CREATED: "A contact and an agent have begun to write to each other.",
    RECEIVED: "The contact wrote something.",
    SENT: "The agent, or a person in its place, answered.",
    EXPIRED: "Nobody wrote for 24 hours.",
}
"""What each says; their data is the session or the message as the API shows it."""
