"""The demonstration's project, key, agent and number, made through the public API; a second run finds them again."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import yaml
from msgspec import Struct

from turncall.client import ApiError, TurnCall
from turncall.client.shapes import AgentTarget, NumberView, VersionView
from turncall.local import State
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import AgentId, NumberId, ProjectId

KEPT_IN: Final = "demo.json"
TOOL_URL: Final = "{{tool_url}}"


class Kept(Struct, frozen=True, kw_only=True):
    """What the first run made; the file is its owner's alone, since it holds a key."""

    project_id: ProjectId
    api_key: str
    agent_id: AgentId
    number_id: NumberId


class Provisioned(Struct, frozen=True, kw_only=True):
    """What a caller of the demonstration meets."""

    api_key: str
    signing_secret: str
    version: VersionView
    number: NumberView


def receptionist(tool_url: str) -> AgentSpec:
    """The receptionist, whose booking tool posts to ``tool_url``."""
    text = files("turncall.demo").joinpath("agent.yaml").read_text()
    return msgspec.convert(yaml.safe_load(text.replace(TOOL_URL, tool_url)), AgentSpec)


async def provisioned(folder: Path, state: State, tool_url: str) -> Provisioned:
    """A published receptionist behind the installation's number. Raises `ApiError`, `Unreachable`."""
    agent = receptionist(tool_url)
    path = folder / KEPT_IN
    kept = msgspec.json.decode(path.read_bytes(), type=Kept) if path.exists() else None
    if kept is not None:
        again = await _again(state, kept, agent)
        if again is not None:
            return again
    kept, made = await _first(state, agent)
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(kept))
    return made


async def _first(state: State, agent: AgentSpec) -> tuple[Kept, Provisioned]:
    async with TurnCall(state.control_url, platform_key=state.platform_key) as operator:
        project = await operator.create_project("Demonstration")
        key = await operator.create_first_key(project.id, "demonstration", "admin")
    async with TurnCall(state.control_url, key=key.secret) as api:
        made = await api.create_agent("Receptionist", agent)
        version = await api.publish_agent(made.id)
        number = await api.bind_number(state.number, AgentTarget(agent_id=made.id))
        signing = await api.signing_secret(project.id)
    kept = Kept(project_id=project.id, api_key=key.secret, agent_id=made.id, number_id=number.id)
    return kept, Provisioned(api_key=key.secret, signing_secret=signing.secret, version=version, number=number)


async def _again(state: State, kept: Kept, agent: AgentSpec) -> Provisioned | None:
    """The same agent with today's addresses; None when the database no longer knows it."""
    async with TurnCall(state.control_url, key=kept.api_key) as api:
        try:
            await api.put_draft(kept.agent_id, agent)
            version = await api.publish_agent(kept.agent_id)
            number = await api.configure_number(kept.number_id)
            signing = await api.signing_secret(kept.project_id)
        except ApiError as error:
            if error.problem.status in (401, 404):
                return None
            raise
    return Provisioned(api_key=kept.api_key, signing_secret=signing.secret, version=version, number=number)
