"""From rows and facts to what the API shows. Pure."""

from collections.abc import Sequence

from msgspec import convert
from msgspec.structs import asdict

from turncall_control.calls.model import CallRow
from turncall_control.calls.schemas import (
    CallView,
    KnowledgeUse,
    KnowledgeUses,
    ToolUse,
    ToolUses,
    Transcript,
    Turn,
    Turns,
    Utterance,
)
from turncall_control.calls.state import Standing, duration_ms
from turncall_proto.call import FINAL, Channel, Direction
from turncall_proto.events import KnowledgeRetrieved, ToolCalled, ToolReturned, TranscriptFinal, TurnMeasured


def call_view(row: CallRow) -> CallView:
    """A call's row as users see it."""
    lasted_ms = None
    if row.status in FINAL:
        lasted_ms = duration_ms(
            Standing(answered_at=row.answered_at, ended_at=row.ended_at, carrier_duration_s=row.carrier_duration_s)
        )
    return CallView(
        id=row.id,
        project_id=row.project_id,
        agent_id=row.agent_id,
        version_id=row.version_id,
        variant=row.variant,
        routing=row.routing,
        number_id=row.number_id,
        channel=convert(row.channel, Channel),
        direction=convert(row.direction, Direction),
        is_test=row.mocks is not None,
        from_number=row.from_number,
        to_number=row.to_number,
        status=row.status,
        ended_reason=row.ended_reason,
        provider=row.provider,
        provider_call_id=row.provider_call_id,
        variables=row.variables,
        metadata=row.metadata_,
        created_at=row.created_at,
        answered_at=row.answered_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        duration_ms=lasted_ms,
        event_count=row.event_count,
        missing_events=row.missing_events,
        recording_deleted_at=row.recording_deleted_at,
    )


def transcript(said: Sequence[TranscriptFinal]) -> Transcript:
    """Both sides in the order in which they began to speak, epoch by epoch."""
    in_order = sorted(said, key=lambda fact: (fact.epoch, fact.start_ms, fact.seq))
    return Transcript(
        utterances=tuple(
            Utterance(
                speaker=fact.speaker,
                text=fact.text,
                epoch=fact.epoch,
                turn=fact.turn,
                start_ms=fact.start_ms,
                end_ms=fact.end_ms,
                is_interrupted=fact.is_interrupted,
            )
            for fact in in_order
        )
    )


def tool_uses(called: Sequence[ToolCalled], returned: Sequence[ToolReturned]) -> ToolUses:
    """Each use of a tool with its result, if it has come.

    A use is known by its ``tool_call_id``: when a call changes worker, the next one repeats the same use.
    """
    results = {fact.tool_call_id: fact for fact in returned}
    first = {fact.tool_call_id: fact for fact in reversed(called)}

    def use(fact: ToolCalled) -> ToolUse:
        result = results.get(fact.tool_call_id)
        return ToolUse(
            tool_call_id=fact.tool_call_id,
            tool=fact.tool,
            epoch=fact.epoch,
            turn=fact.turn,
            arguments=fact.arguments,
            bound=fact.bound,
            called_at=fact.at,
            returned_at=result.at if result else None,
            is_ok=result.is_ok if result else None,
            output=result.output if result else None,
            latency_ms=result.latency_ms if result else None,
        )

    return ToolUses(tools=tuple(use(fact) for fact in called if first[fact.tool_call_id] is fact))


def knowledge_uses(retrieved: Sequence[KnowledgeRetrieved]) -> KnowledgeUses:
    """What the agent was told of knowledge bases."""
    return KnowledgeUses(knowledge=tuple(convert(asdict(fact), KnowledgeUse) for fact in retrieved))


def turns(measured: Sequence[TurnMeasured]) -> Turns:
    """The measured turns, in order."""
    return Turns(turns=tuple(convert(asdict(fact), Turn) for fact in measured))
