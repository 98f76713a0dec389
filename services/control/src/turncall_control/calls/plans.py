"""The plan of one epoch of a call, made from its row, and the document that joins the call to its worker."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from psycopg.rows import dict_row

from turncall_control.calls import legs, lookup, placement
from turncall_control.calls.ledger import Connection
from turncall_control.calls.legs import SESSION_OF_CALL
from turncall_control.calls.lookup import Found
from turncall_control.calls.placement import Placed
from turncall_control.calls.ringing import Ringing
from turncall_control.carriers.base import Answers
from turncall_control.plane import Plane
from turncall_control.projects.signing import signing_secrets
from turncall_control.routing import BoundNumber, Routed
from turncall_control.settings import DEFAULT_LANGUAGE_OF_P, speaking
from turncall_control.wallet import SERVER, VENDOR, Wallet
from turncall_egress import Refused, authority, checked_url
from turncall_proto import ids
from turncall_proto.agent import AgentSpec, VendorRef, WebhookTool
from turncall_proto.call import CallStart, Handoff, TransferFailed
from turncall_proto.ids import CallId, ProjectId
from turncall_proto.mcp import McpStdio
from turncall_proto.mock import ToolMock

REDIRECTED: Final = "redirected"
"""The query parameter by which a question is known that we made the carrier ask; its signature covers it."""


async def plan(connection: Connection, plane: Plane, call_id: CallId, epoch: int) -> CallStart | None:
    """All that a worker needs for this epoch of a stored call; None for a call that no agent was found for.

    The agent is the version that the call names, or the definition that came with the call.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "select c.project_id, c.agent_id, c.version_id, c.channel, c.direction, c.from_number, c.to_number,"
            " c.provider, c.provider_call_id, c.answered_by, c.created_at as called_at, c.variables, c.metadata,"
            " c.knowledge_context, c.mocks, coalesce(c.inline_agent, v.config) as config,"
            f" {DEFAULT_LANGUAGE_OF_P} as default_language,"
            " (select handoff from epochs e where e.call_id = c.id and handoff is not null"
            " order by epoch desc limit 1),"
            " (select json_build_object('transfer_id', replace(t.id::text, '-', ''), 'to', t.wanted ->> 'to',"
            " 'outcome', t.outcome) from transfers t where t.call_id = c.id and t.outcome is not null"
            f" order by t.created_at desc limit 1) as transfer_failed, {SESSION_OF_CALL} as session,"
            " (select max_duration_s from client_tokens t where t.id = c.id) as lasts_s"
            " from calls c join projects p on p.id = c.project_id"
            " left join agent_versions v on v.id = c.version_id where c.id = %s",
            (ids.parsed(ids.CALL, call_id),),
        )
        row: dict[str, Any] = await cursor.fetchone() or {}
    config = row.pop("config", None)
    if config is None:
        return None
    agent = speaking(msgspec.convert(config, AgentSpec), row.pop("default_language"))
    lasts_s = row.pop("lasts_s")
    if lasts_s is not None:
        agent = replace(agent, max_duration_s=min(lasts_s, agent.max_duration_s))
    row["transfer_failed"] = row["transfer_failed"] and msgspec.convert(row["transfer_failed"], TransferFailed)
    row["mocks"] = msgspec.convert(row["mocks"], tuple[ToolMock, ...] | None)
    row["handoff"] = row["handoff"] and msgspec.convert(row["handoff"], Handoff)
    for name, prefix in (("project_id", ids.PROJECT), ("agent_id", ids.AGENT), ("version_id", ids.VERSION)):
        row[name] = row[name] and ids.written(prefix, row[name])
    memory = await legs.memory(connection, row.pop("session"))
    wallet = await plane.wallets.open(row["project_id"], connection)
    return CallStart(
        call_id=call_id,
        epoch=epoch,
        agent=agent,
        memory=memory,
        **sealed(plane, row["project_id"], wallet, agent),
        **row,
    )


async def plan_new(plane: Plane, ringing: Ringing, found: Found, routed: Routed) -> CallStart | None:
    """The plan of the first epoch of a call that has no row yet, of what was found about its number."""
    project_id = found.number.project_id
    agent = routed.inline
    if agent is None and routed.version_id is not None:
        agent = await lookup.definition(plane, routed.version_id)
    if agent is None:
        return None
    wallet = await plane.wallets.open_read(project_id, found.stored)
    memory = await _memory(plane, found, routed)
    return first_plan(plane, ringing, found.number, wallet, routed, agent, found.asked_at, memory)


def first_plan(
    plane: Plane,
    ringing: Ringing,
    number: BoundNumber,
    wallet: Wallet,
    routed: Routed,
    agent: AgentSpec,
    called_at: datetime | None = None,
    memory: str = "",
) -> CallStart:
    """The plan of the first epoch of a call that rings, whether or not it can be stored; the last two as in plans."""
    agent = speaking(agent, number.default_language)
    return CallStart(
        call_id=ringing.call_id,
        project_id=number.project_id,
        epoch=1,
        agent_id=routed.agent_id,
        version_id=routed.version_id,
        agent=agent,
        channel=ringing.channel,
        direction="inbound",
        from_number=ringing.from_number,
        to_number=ringing.to_number,
        provider=ringing.provider,
        provider_call_id=ringing.provider_call_id,
        called_at=called_at,
        variables=dict(routed.variables),
        metadata=dict(routed.metadata),
        knowledge_context=routed.knowledge_context,
        memory=memory,
        **sealed(plane, number.project_id, wallet, agent),
    )


async def _memory(plane: Plane, found: Found, routed: Routed) -> str:
    """What the agent and the caller said before; most callers have no session, and nothing is asked for them."""
    session = next((known.id for known in found.sessions if routed.agent_id == known.agent), None)
    if session is None:
        return ""
    async with plane.database.pool.connection() as connection:
        return await legs.memory(connection, session)


def sealed(plane: Plane, project_id: ProjectId, wallet: Wallet, agent: AgentSpec) -> dict[str, Any]:
    """The fields of a plan that are made at this moment: when it was made, and what is sealed to the media plane."""
    signing = tuple(
        plane.sealer.seal(f"{project_id} signs", secret.reveal())
        for secret in signing_secrets(plane.config.key_pepper, project_id, wallet)
    )
    every = (ref for _, _, ref in agent.pipeline.places())
    return {
        "planned_at": datetime.now(UTC),
        **sealed_keys(plane, project_id, wallet, every),
        "signing_secret": signing[0],
        "signing_secrets": signing,
        "server_headers": _sealed_headers(plane, project_id, wallet, agent),
    }


def _sealed_headers(plane: Plane, project_id: ProjectId, wallet: Wallet, agent: AgentSpec) -> dict[str, str]:
    """The headers for those hosts that the agent's tools and MCP servers ask, and for no other."""
    servers = [server.transport for server in agent.mcp_servers if not isinstance(server.transport, McpStdio)]
    asked = (*(tool for tool in agent.tools if isinstance(tool, WebhookTool)), *servers)
    hosts = sorted({host for one in asked if (host := _host(one.url)) in wallet.server_headers})
    plane.wallets.used(project_id, SERVER, hosts)
    return {
        host: plane.sealer.seal(f"{project_id} server {host}", wallet.server_headers[host].reveal()) for host in hosts
    }


def _host(url: str) -> str:
    """Of an agent's URL; empty for one that the wall will refuse."""
    try:
        return authority(checked_url(url))
    except Refused:
        return ""


def sealed_keys(plane: Plane, project_id: ProjectId, wallet: Wallet, refs: Iterable[VendorRef]) -> dict[str, Any]:
    """The keys of these vendors as plans of calls and jobs hold them; a project's own before the installation's."""
    keys = placement.needed_keys(refs, {**plane.config.vendor_keys, **wallet.vendor_keys})
    own = tuple(vendor for vendor in keys if vendor in wallet.vendor_keys)
    plane.wallets.used(project_id, VENDOR, own)
    secrets = {
        vendor: plane.sealer.seal(f"{project_id if vendor in own else ''} {vendor}", key.reveal())
        for vendor, key in keys.items()
    }
    return {"secrets": secrets, "own_vendors": own}


async def connect(connection: Connection, plane: Plane, documents: Answers, placed: Placed) -> str:
    """The document that joins a locked call to its worker; the call is in the plan's epoch from here on."""
    await begin_epoch(connection, placed)
    return join(plane, documents, placed)


async def begin_epoch(connection: Connection, placed: Placed) -> None:
    """A locked call is in the plan's epoch from here on."""
    made = placed.plan
    call, project = ids.parsed(ids.CALL, made.call_id), ids.parsed(ids.PROJECT, made.project_id)
    await connection.execute(
        "with placed as ("
        " insert into epochs (call_id, project_id, epoch, worker) values (%s, %s, %s, %s) on conflict do nothing)"
        " update calls set epoch = greatest(epoch, %s) where id = %s",
        (call, project, made.epoch, made.offered_to, made.epoch, call),
    )


def join(plane: Plane, documents: Answers, placed: Placed) -> str:
    """The document that joins a call to the worker that holds a slot for it."""
    made = placed.plan
    return documents.connect_stream(
        stream_url=placed.stream_url(plane.config.stream_token_keys),
        action_url=resume_url(plane, made.provider, made.call_id, made.epoch),
    )


def resume_url(plane: Plane, provider: str, call_id: CallId, epoch: int) -> str:
    """What the carrier asks when it is to learn what comes after this epoch."""
    return f"{plane.config.public_url}/webhooks/{provider}/voice/resume/{call_id}/{epoch}"
