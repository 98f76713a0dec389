"""The analysis of a call: what is sent for it, and what its answer becomes."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from psycopg.rows import dict_row

from turncall_control.calls import news, plans
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.projector import record
from turncall_control.jobs.lane import Connection, Due, Kind
from turncall_control.jobs.orders import ANALYSIS
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, SpeechToSpeech, VendorRef
from turncall_proto.events import AnalysisCompleted, Event, ToolCalled, ToolReturned, TranscriptFinal, UsageReported
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.job import AnalysisDone, AnalysisJob, JobFailed, Said, Used

_READ: Final = msgspec.json.Decoder(TranscriptFinal | ToolCalled | ToolReturned)


def models_of(agent: AgentSpec) -> tuple[VendorRef, ...]:
    """Who reads the conversations of an agent, and who steps in."""
    if agent.analysis is not None and agent.analysis.model is not None:
        return (agent.analysis.model,)
    match agent.pipeline:
        case Cascade() as cascade:
            return cascade.stages()["llm"]
        case SpeechToSpeech():
            return ()  # refused when it was written: it has no language model


async def plan(connection: Connection, plane: Plane, due: Due) -> AnalysisJob | None:
    """The conversation of a call with what is to be found in it; None when the call or its agent is gone."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "select c.ended_reason, coalesce(c.inline_agent, v.config) as config,"
            " coalesce(extract(epoch from c.ended_at - c.answered_at) * 1000, 0)::int as lasted_ms"
            " from calls c left join agent_versions v on v.id = c.version_id where c.id = %s",
            (due.call_id,),
        )
        row: dict[str, Any] = await cursor.fetchone() or {}
    if row.get("config") is None:
        return None
    agent = msgspec.convert(row["config"], AgentSpec)
    if agent.analysis is None:
        return None
    said, used = await _conversation(connection, due)
    project_id = ProjectId(ids.written(ids.PROJECT, due.project_id))
    wallet = await plane.wallets.open(project_id, connection)
    models = models_of(agent)
    return AnalysisJob(
        job_id=due.job_id,
        project_id=project_id,
        planned_at=datetime.now(UTC),
        **plans.sealed_keys(plane, project_id, wallet, models),
        models=models,
        analysis=agent.analysis,
        language=agent.language,
        said=said,
        used=used,
        ended_reason=row["ended_reason"] or "",
        duration_ms=row["lasted_ms"],
    )


async def _conversation(connection: Connection, due: Due) -> tuple[tuple[Said, ...], tuple[Used, ...]]:
    cursor = await connection.execute(
        "select payload::text from call_events where call_id = %s"
        " and type in ('transcript.final', 'tool.called', 'tool.result') order by call_seq",
        (due.call_id,),
    )
    facts = [_READ.decode(payload) for (payload,) in await cursor.fetchall()]
    spoken = sorted(
        (fact for fact in facts if isinstance(fact, TranscriptFinal)),
        key=lambda fact: (fact.epoch, fact.start_ms, fact.seq),
    )
    results = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolReturned)}
    called = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolCalled)}
    said = tuple(Said(speaker=fact.speaker, text=fact.text, start_ms=fact.start_ms) for fact in spoken)
    return said, tuple(_used(fact, results.get(fact.tool_call_id)) for fact in called.values())


def _used(called: ToolCalled, returned: ToolReturned | None) -> Used:
    return Used(
        tool=called.tool,
        arguments=called.arguments,
        is_ok=None if returned is None else returned.is_ok,
        output=None if returned is None else returned.output,
    )


async def take(
    connection: Connection, plane: Plane, due: Due, answer: AnalysisDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """States what was found and what that used, as facts of the call."""
    assert due.call_id is not None  # an analysis is one of a call
    header: dict[str, Any] = {
        "call_id": CallId(ids.written(ids.CALL, due.call_id)),
        "project_id": answer.project_id,
        "epoch": 0,
        "seq": UNNUMBERED,
        "at": answer.at,
    }
    facts: list[Event] = [
        UsageReported(
            **header,
            kind="llm",
            vendor=used.vendor,
            model=used.model,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
        )
        for used in answer.used
    ]
    facts.append(
        AnalysisCompleted(
            **header,
            analysis_id=answer.job_id,
            is_ok=isinstance(answer, AnalysisDone),
            findings=answer.findings if isinstance(answer, AnalysisDone) else None,
            detail=answer.detail if isinstance(answer, JobFailed) else "",
        )
    )
    appended = await record(connection, [own(fact) for fact in facts])
    return partial(news.publish, plane.bus, appended)


KIND: Final = Kind(name=ANALYSIS, answer=AnalysisDone, plan=plan, take=take)
