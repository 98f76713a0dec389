"""The analysis of a call or of a session: what is sent for it, and what its answer becomes."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec

from turncall_control.analysis.conversations import gathered
from turncall_control.analysis.schemas import SessionAnalysed
from turncall_control.calls import news, plans
from turncall_control.calls.facts import UNNUMBERED, own
from turncall_control.calls.projector import record
from turncall_control.jobs.lane import Connection, Due, Kind
from turncall_control.jobs.orders import ANALYSIS
from turncall_control.plane import Plane
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, Cascade, SpeechToSpeech, VendorRef
from turncall_proto.events import AnalysisCompleted, Event, UsageReported
from turncall_proto.ids import CallId, ProjectId, SessionId
from turncall_proto.job import AnalysisDone, AnalysisJob, JobFailed, TakeawayWanted


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
    """The conversation with what is to be found in it; None when it or its agent is gone."""
    conversation = await gathered(connection, due)
    if conversation is None or conversation.agent.analysis is None:
        return None
    agent, analysis = conversation.agent, conversation.agent.analysis
    project_id = ProjectId(ids.written(ids.PROJECT, due.project_id))
    wallet = await plane.wallets.open(project_id, connection)
    models = models_of(agent)
    takeaways = await _takeaways(connection, due, analysis.takeaways)
    return AnalysisJob(
        job_id=due.job_id,
        project_id=project_id,
        planned_at=datetime.now(UTC),
        **plans.sealed_keys(plane, project_id, wallet, models),
        models=models,
        analysis=analysis,
        language=agent.language,
        said=conversation.said,
        used=conversation.used,
        ended_reason=conversation.ended_reason,
        duration_ms=conversation.duration_ms,
        is_written=conversation.is_written,
        takeaways=takeaways,
        gone=tuple(sorted(set(analysis.takeaways) - {one.name for one in takeaways})),
    )


async def _takeaways(connection: Connection, due: Due, names: Sequence[str]) -> tuple[TakeawayWanted, ...]:
    """Those of these names that the project has, as they are defined by now."""
    cursor = await connection.execute(
        "select name, schema, instructions from takeaways where project_id = %s and name = any(%s) order by name",
        (due.project_id, list(names)),
    )
    return tuple(
        TakeawayWanted(name=name, schema=schema, instructions=instructions)
        for name, schema, instructions in await cursor.fetchall()
    )


async def take(
    connection: Connection, plane: Plane, due: Due, answer: AnalysisDone | JobFailed
) -> Callable[[], Awaitable[None]]:
    """States what was found and what that used: of a call as its facts, of a session to whoever subscribes."""
    if due.call_id is None:
        await _tell_of_session(connection, due, answer)
        return _nothing_more
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


async def _tell_of_session(connection: Connection, due: Due, answer: AnalysisDone | JobFailed) -> None:
    assert due.session_id is not None  # an analysis is one of a call or of a session
    data = SessionAnalysed(
        session_id=SessionId(ids.written(ids.SESSION, due.session_id)),
        analysis_id=answer.job_id,
        is_ok=isinstance(answer, AnalysisDone),
        findings=answer.findings if isinstance(answer, AnalysisDone) else None,
        detail=answer.detail if isinstance(answer, JobFailed) else "",
    )
    await connection.execute(
        "insert into webhook_deliveries (project_id, webhook_id, type, at, data)"
        " select w.project_id, w.id, 'analysis.completed', now(), %s::jsonb from webhooks w, sessions s"
        " where s.id = %s and w.project_id = s.project_id and w.is_enabled"
        " and (w.event_types = '{}' or 'analysis.completed' = any(w.event_types))"
        " and (w.agent_id is null or w.agent_id = s.agent_id)",
        (msgspec.json.encode(data).decode(), due.session_id),
    )


async def _nothing_more() -> None:
    """Nobody follows a session for its analysis."""


KIND: Final = Kind(name=ANALYSIS, answer=AnalysisDone, plan=plan, take=take)
