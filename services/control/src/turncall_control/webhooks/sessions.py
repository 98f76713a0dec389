"""Events that belong to no call: of conversations in writing, and of documents."""

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

DOCUMENT_READY: Final = "document.ready"
DOCUMENT_FAILED: Final = "document.failed"

DOCUMENT_EVENTS: Final[dict[str, str]] = {
    DOCUMENT_READY: "A document was read: what it says can be found.",
    DOCUMENT_FAILED: "A document cannot be read; it says why.",
}
"""What each says; their data is the document as the API shows it."""
