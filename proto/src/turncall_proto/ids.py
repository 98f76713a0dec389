"""Typed identifiers: how each is minted, written and read.

On the wire and in the API an id is ``<prefix>_<32 hex digits>``; in Postgres it is the bare UUID. Ids are time-ordered
(UUIDv7, RFC 9562), except an inbound call's, which two control replicas must derive alike from what the carrier said.
"""

from typing import NewType
from uuid import UUID, uuid5

from uuid_utils.compat import uuid7

ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
AgentId = NewType("AgentId", str)
VersionId = NewType("VersionId", str)
NumberId = NewType("NumberId", str)
CallId = NewType("CallId", str)
CredentialId = NewType("CredentialId", str)
DoNotCallId = NewType("DoNotCallId", str)
JobId = NewType("JobId", str)
SessionId = NewType("SessionId", str)
MessageId = NewType("MessageId", str)
TextId = NewType("TextId", str)
KnowledgeBaseId = NewType("KnowledgeBaseId", str)
DocumentId = NewType("DocumentId", str)
TakeawayId = NewType("TakeawayId", str)
WorkerId = NewType("WorkerId", str)
WebhookId = NewType("WebhookId", str)
DeliveryId = NewType("DeliveryId", str)
AuditId = NewType("AuditId", str)
SuiteId = NewType("SuiteId", str)
RunId = NewType("RunId", str)
TrialId = NewType("TrialId", str)
ReplayId = NewType("ReplayId", str)

PROJECT, KEY, AGENT, VERSION, NUMBER, CALL, WORKER = "prj", "key", "agt", "ver", "num", "call", "wrk"
WEBHOOK, DELIVERY = "whk", "dlv"
AUDIT = "aud"
CREDENTIAL = "cred"
DO_NOT_CALL = "dnc"
JOB = "job"
SESSION, MESSAGE, TEXT = "ses", "msg", "txt"
KNOWLEDGE_BASE, DOCUMENT = "kb", "doc"
SUITE, RUN, TRIAL, REPLAY = "tst", "run", "trl", "rpl"
TAKEAWAY = "tkw"

_INBOUND_CALLS = UUID("6f1f8d0e-7a0a-5c51-9a55-0d6b8f3f7c11")


class MalformedId(ValueError):
    """The text is not an id of the expected kind."""


def mint(prefix: str) -> str:
    """A new id of the kind ``prefix``; ids minted later sort later."""
    return written(prefix, uuid7())


def written(prefix: str, value: UUID) -> str:
    """The wire form of a UUID: ``call_018f…``."""
    return f"{prefix}_{value.hex}"


def parsed(prefix: str, text: str) -> UUID:
    """The UUID inside a wire id. Raises `MalformedId` when the prefix or the digits are not as expected."""
    head, _, digits = text.rpartition("_")
    if head != prefix or len(digits) != 32:
        raise MalformedId(f"expected an id of the form {prefix}_<32 hex digits>")
    try:
        return UUID(hex=digits)
    except ValueError as error:
        raise MalformedId(f"expected an id of the form {prefix}_<32 hex digits>") from error


def inbound_call_id(provider: str, account: str, provider_call_id: str) -> CallId:
    """The id of a call that a carrier announced: the same on every replica and for every repeated webhook."""
    return CallId(written(CALL, uuid5(_INBOUND_CALLS, f"{provider}/{account}/{provider_call_id}")))
