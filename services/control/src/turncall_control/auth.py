"""Who may do what: roles, permissions, what a route must declare. No database here."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

from msgspec import Struct

from turncall_control.errors import ControlError
from turncall_proto.ids import AgentId, CallId, KeyId, ProjectId, VersionId


class Role(StrEnum):
    """What a key may do, from most to least."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"

    def covers(self, other: "Role") -> bool:
        """Whether this role is at least as strong as ``other``."""
        return _RANK[self] >= _RANK[other]


_RANK: Final = {Role.VIEWER: 1, Role.DEVELOPER: 2, Role.ADMIN: 3}


class Permission(StrEnum):
    """What a route asks for. The first three are not granted to roles."""

    OPEN = "open"
    """Anybody: health, documentation."""
    SIGNED = "signed"
    """Whoever signs the request with a secret that its handler checks: carriers' webhooks."""
    PLATFORM = "platform"
    """The operator, by the platform key."""
    PROJECT_READ = "project:read"
    PROJECT_WRITE = "project:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    NUMBERS_READ = "numbers:read"
    NUMBERS_WRITE = "numbers:write"
    CALLS_READ = "calls:read"
    CALLS_WRITE = "calls:write"
    CALLS_CONNECT = "calls:connect"
    """Also whoever shows a client token, for the one call that it opens."""
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    KNOWLEDGE_READ = "knowledge:read"
    KNOWLEDGE_WRITE = "knowledge:write"
    TESTS_READ = "tests:read"
    TESTS_WRITE = "tests:write"
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    AUDIT_READ = "audit:read"


_P = Permission
_VIEWER: Final = frozenset(
    {_P.PROJECT_READ, _P.AGENTS_READ, _P.NUMBERS_READ, _P.CALLS_READ, _P.SESSIONS_READ, _P.WEBHOOKS_READ}
    | {_P.KNOWLEDGE_READ, _P.TESTS_READ}
)
_DEVELOPER: Final = _VIEWER | {
    _P.KEYS_READ,
    _P.KEYS_WRITE,
    _P.AGENTS_WRITE,
    _P.NUMBERS_WRITE,
    _P.CALLS_WRITE,
    _P.CALLS_CONNECT,
    _P.SESSIONS_WRITE,
    _P.KNOWLEDGE_WRITE,
    _P.TESTS_WRITE,
    _P.CREDENTIALS_READ,
    _P.WEBHOOKS_WRITE,
}
_ADMIN: Final = _DEVELOPER | {_P.AUDIT_READ, _P.PROJECT_WRITE, _P.CREDENTIALS_WRITE}
GRANTS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    Role.ADMIN: _ADMIN,
}


class Finds(Struct, frozen=True, kw_only=True):
    """How a route finds the object it acts on.

    ``nothing``: it touches no stored object, or finds it by means of a signature. ``project``: everything in the
    caller's project. ``platform``: everything in the installation. ``path``: the one whose id, of the kind ``prefix``,
    is the path parameter ``parameter``, and which belongs to the one that ``within`` finds.
    """

    how: Literal["nothing", "project", "platform", "path"]
    parameter: str = ""
    prefix: str = ""
    within: "Finds | None" = None


NOTHING: Final = Finds(how="nothing")
IN_PROJECT: Final = Finds(how="project")
IN_PLATFORM: Final = Finds(how="platform")


def in_path(parameter: str, prefix: str, *, within: Finds | None = None) -> Finds:
    """The object is named by a path parameter: ``in_path("agent_id", ids.AGENT)``."""
    return Finds(how="path", parameter=parameter, prefix=prefix, within=within)


def needs(
    permission: Permission,
    finds: Finds,
    *,
    fails: Sequence[type[ControlError]] = (),
    idempotent: bool = False,
    audited: bool | None = None,
    form: type[Struct] | None = None,
) -> dict[str, Any]:
    """A route's declaration, for Litestar's ``opt``; an application with a route that lacks one does not start.

    ``fails`` are the errors of its own that the reference shows, beside those that every such route has.
    ``idempotent``: it takes an Idempotency-Key; its successful answer is kept for a day, so it must show no secret.
    ``form`` is what it takes as multipart/form-data, for the reference; its handler reads that itself.
    ``audited``: whether a success leaves an entry in the audit log; by default that of every method but GET does.
    """
    return {
        "permission": permission,
        "finds": finds,
        "fails": tuple(fails),
        "idempotent": idempotent,
        "audited": audited,
        "form": form,
    }


class Visit(Struct, frozen=True, kw_only=True):
    """What was decided about the one call that a client token opens; with no ``origins`` the project's hold.

    ``routing`` is a target of `routing`, as JSON, in place of agent and version.
    """

    call_id: CallId
    agent_id: AgentId | None
    version_id: VersionId | None
    variables: dict[str, str]
    metadata: dict[str, str]
    origins: tuple[str, ...]
    routing: dict[str, Any] | None = None
    fallback_agent_id: AgentId | None = None
    is_used: bool = False


class Caller(Struct, frozen=True, kw_only=True):
    """Whose key came with a request, and what it may do. ``visit``: it was a client token, made with that key."""

    project_id: ProjectId
    key_id: KeyId
    role: Role
    visit: Visit | None = None
