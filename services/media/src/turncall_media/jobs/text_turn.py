"""A turn of a session: the agent's answer to what its contact wrote, with the tools, guardrails and texts of a call."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any, Final

from msgspec.structs import replace
from pipecat.processors.aggregators.llm_context import LLMContext

from turncall_bus.bus import Away
from turncall_egress import EgressClient, Wall
from turncall_media.acts import Links, OptOut, Questions
from turncall_media.jobs.shape import Desk, JobRefused, unanswered
from turncall_media.pipelines import toolbox
from turncall_media.pipelines.apologies import please_repeat
from turncall_media.pipelines.build import server_headers
from turncall_media.pipelines.kit import Kit
from turncall_media.pipelines.knowing import Recall, functions, informed
from turncall_media.text.summary import shortened
from turncall_media.text.tally import Tally
from turncall_media.text.thinking import ModelFailed
from turncall_media.text.turn import Deed, Scribe, Writer, once, written
from turncall_media.tools.shape import CallReach, Function, ToolFailed, function
from turncall_media.toolservers.doors import Door, door
from turncall_media.toolservers.servers import ToolServers
from turncall_proto import subjects
from turncall_proto.agent import Cascade, KnowledgeAuto
from turncall_proto.call import EndedReason
from turncall_proto.codec import encode
from turncall_proto.command import TransferOrder
from turncall_proto.ids import AgentId
from turncall_proto.job import TextTurnDone, TextTurnJob, Wrote
from turncall_proto.live import TextDelta
from turncall_proto.mcp import McpServer
from turncall_proto.template import rendered

ANSWER_WITHIN_S: Final = 120.0
_NOT_WRITTEN: Final = "This is not possible in writing."
_SUMMARY: Final = "What was said before, in short:\n"


Outfit = Callable[[TextTurnJob, toolbox.Shared], tuple[Sequence[Function], ToolServers | None]]
"""What the model of a turn may use beside what it may look up: functions, and servers that offer more of them."""


async def run(job: TextTurnJob, desk: Desk, tally: Tally) -> TextTurnDone:
    """Answers with the agent's own tools. Raises `JobRefused`, `JobPostponed`."""
    return await answered(job, desk, tally, partial(_own_outfit, desk, tally))


async def answered(job: TextTurnJob, desk: Desk, tally: Tally, outfit: Outfit) -> TextTurnDone:
    """Asks each model of the agent in turn until one answers. Raises `JobRefused`, `JobPostponed`."""
    scribe, deed = Scribe(), Deed()
    library, clock_s = Questions(desk.bus, job.project_id, desk.now), asyncio.get_running_loop().time
    whole, told = await informed(job.plan, library, clock_s)
    plan = replace(job.plan, agent=rendered(whole).agent)
    if told is not None:
        scribe.informed(told)
    agent = plan.agent
    if not isinstance(agent.pipeline, Cascade):
        raise JobRefused("The agent's pipeline has no model that writes")
    models = desk.models(plan, agent.pipeline.stages()["llm"], agent.language)
    short = await shortened(job, models, tally)
    context = LLMContext(_messages(agent.prompt, short.summary, short.wrote))
    links = tuple(link for link in agent.knowledge if isinstance(link, KnowledgeAuto))
    if links:
        await Recall(links, library, scribe, context, clock_s).tell()
    lookups = functions(agent, library, scribe, clock_s)
    last: ModelFailed | None = None
    async with EgressClient(Wall(desk.egress_allow)) as egress:
        for model in models:
            writer = Writer(model.ref.vendor, _teller(job, desk))
            shared = _shared(plan, desk, egress, scribe, writer, deed)
            tools, servers = outfit(replace(job, plan=plan), shared)
            async with Kit([*tools, *lookups], servers, context, shared) as kit:
                try:
                    tally.add(await written(model, context, kit, writer, ANSWER_WITHIN_S))
                except ModelFailed as error:
                    last = error if last is None or last.is_final else last
                    continue
            return TextTurnDone(
                job_id=job.job_id,
                project_id=job.project_id,
                at=desk.now(),
                used=tally.used,
                text=writer.text,
                through=job.wrote[-1].seq,
                tools=scribe.used,
                knowledge=scribe.known,
                is_ended=deed.is_ended,
                handed_to=deed.handed_to,
                summary=short.summary,
                summarised_through=short.through,
            )
    assert last is not None  # an agent has a model at least
    raise unanswered(last) from last


def _messages(prompt: str, summary: str, wrote: Sequence[Wrote]) -> list[Any]:
    """In the order in which people spoke: what was written during a call stands in the session before all of it."""
    told = "\n\n".join(part for part in (prompt, summary and _SUMMARY + summary) if part)
    roles = {"contact": "user", "agent": "assistant", "operator": "assistant"}
    return [
        *([{"role": "system", "content": told}] if told else []),
        *({"role": roles[message.author], "content": message.text} for message in sorted(wrote, key=attrgetter("at"))),
    ]


def _teller(job: TextTurnJob, desk: Desk) -> Any:
    subject = subjects.live(job.project_id, job.session_id)

    async def tell(text: str) -> None:
        """Lossy: whoever follows reads the whole message when it is stored."""
        with suppress(Away):
            await desk.bus.tell(
                subject, encode(TextDelta(session_id=job.session_id, through=job.wrote[-1].seq, text=text))
            )

    return tell


def _own_outfit(
    desk: Desk, tally: Tally, job: TextTurnJob, shared: toolbox.Shared
) -> tuple[Sequence[Function], ToolServers | None]:
    servers = None
    if job.plan.agent.mcp_servers:
        wall = Wall(desk.egress_allow)

        def way(server: McpServer) -> Door:
            return door(server.transport, shared.reach.server_headers, wall, desk.mcp_programs)

        servers = ToolServers(job.plan.agent.mcp_servers, way, job.plan.call_id)
    tools = [once(function(tool), job.job_id, is_repeat=tally.is_repeat) for tool in job.plan.agent.tools]
    return tools, servers


def _shared(plan: Any, desk: Desk, egress: EgressClient, scribe: Scribe, writer: Writer, deed: Deed) -> toolbox.Shared:
    async def at_once() -> None:
        return

    async def unheard(_: bytes) -> None:
        raise ToolFailed(_NOT_WRITTEN)

    def end(_: EndedReason) -> None:
        deed.is_ended = True

    async def hand_off(agent_id: AgentId, _: str) -> None:
        deed.handed_to = agent_id

    async def to_no_person(_: TransferOrder, __: str) -> None:
        raise ToolFailed(_NOT_WRITTEN)

    signing = plan.signing_secrets or ((plan.signing_secret,) if plan.signing_secret else ())
    reach = CallReach(
        call_id=plan.call_id,
        speech_heard=at_once,
        play=unheard,
        end=end,
        hand_off=hand_off,
        transfer=to_no_person,
        send_link=Links(desk.bus, plan, desk.now),
        opt_out=OptOut(desk.bus, plan, desk.now),
        pause_recording=lambda _: False,
        egress=egress,
        signing_secrets=tuple(desk.open_secret(box) for box in signing),
        server_headers=server_headers(plan, desk.open_secret),
    )
    return toolbox.Shared(
        reach=reach,
        narrator=scribe,
        speech=writer,
        allowance=toolbox.Allowance(plan.agent.guardrails.max_tool_calls_per_turn),
        is_over=lambda: False,
        repeated=frozenset(),
        way_out=please_repeat(plan.agent.language),
    )
