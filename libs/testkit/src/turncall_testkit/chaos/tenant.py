"""A project in the installation: its number, its key, and the server of its own that takes its webhooks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from turncall.client import TurnCall
from turncall.client.shapes import AgentTarget, NumberView
from turncall.demo.provision import receptionist
from turncall_proto.ids import ProjectId
from turncall_testkit.receiver import Receiver, receiving


class Tenant(Struct, frozen=True, kw_only=True):
    """``api`` sees the project with an admin's key; ``receiver`` is subscribed to all of its events; ``secrets`` are
    what no log may hold."""

    project_id: ProjectId
    api: TurnCall
    number: NumberView
    receiver: Receiver
    secrets: tuple[str, ...]


@asynccontextmanager
async def tenant(
    public_url: str, platform_key: str, name: str, e164: str, tool_url: str, trust: Callable[[str], None]
) -> AsyncIterator[Tenant]:
    """A new project whose number ``e164`` is answered by the demonstration's agent. ``trust`` is told its secret."""
    async with TurnCall(public_url, platform_key=platform_key) as operator:
        project = await operator.create_project(name)
        key = (await operator.create_first_key(project.id, "chaos", "admin")).secret
    async with TurnCall(public_url, key=key) as api, receiving() as receiver:
        signing = (await api.signing_secret(project.id)).secret
        trust(signing)
        webhook = (await api.create_webhook(receiver.url)).secret
        receiver.secrets.append(webhook)
        agent = await api.create_agent("Receptionist", receptionist(tool_url))
        await api.publish_agent(agent.id)
        yield Tenant(
            project_id=project.id,
            api=api,
            number=await api.bind_number(e164, AgentTarget(agent_id=agent.id)),
            receiver=receiver,
            secrets=(key, signing, webhook),
        )
