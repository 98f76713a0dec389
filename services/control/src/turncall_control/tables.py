"""Every table of the control plane, imported in one place so that migrations see them all."""

from turncall_control.agents.model import AgentRow, VersionRow
from turncall_control.browser.model import ClientTokenRow
from turncall_control.calls.model import (
    BucketChoreRow,
    CallEventRow,
    CallRow,
    CarrierCallbackRow,
    EpochRow,
    ErasedCallRow,
    TransferRow,
)
from turncall_control.chat.model import MessageRow, SessionCallRow, SessionRow
from turncall_control.credentials.model import CredentialRow
from turncall_control.dials.model import DialPaceRow, DialRow
from turncall_control.donotcall.model import DoNotCallRow
from turncall_control.idempotency import KeyUse
from turncall_control.jobs.model import JobRow
from turncall_control.keys.model import KeyRow
from turncall_control.knowledge.model import DocumentRow, KnowledgeBaseRow, PassageRow
from turncall_control.numbers.model import NumberRow
from turncall_control.outbox import OutboxRow
from turncall_control.projects.model import ProjectRow, SigningSecretRow
from turncall_control.suites.model import ReplayRow, RunRow, ScheduleRow, SuiteRow, TrialRow
from turncall_control.takeaways.model import TakeawayRow
from turncall_control.texts.model import OptOutRow, TextRow
from turncall_control.trail import EntryRow
from turncall_control.vault import DataKeyRow
from turncall_control.webhooks.model import DeliveryRow, WebhookRow

TABLES = (
    EntryRow,
    KeyUse,
    OutboxRow,
    ProjectRow,
    DataKeyRow,
    SigningSecretRow,
    CredentialRow,
    KeyRow,
    AgentRow,
    VersionRow,
    NumberRow,
    WebhookRow,
    DeliveryRow,
    JobRow,
    SessionRow,
    MessageRow,
    SessionCallRow,
    TextRow,
    OptOutRow,
    TakeawayRow,
    KnowledgeBaseRow,
    DocumentRow,
    PassageRow,
    SuiteRow,
    RunRow,
    ScheduleRow,
    TrialRow,
    ReplayRow,
    CallRow,
    CallEventRow,
    EpochRow,
    TransferRow,
    CarrierCallbackRow,
    BucketChoreRow,
    ErasedCallRow,
    DialRow,
    DialPaceRow,
    DoNotCallRow,
    ClientTokenRow,
)
