"""Who may use an installation: projects, keys and credentials, and the operator's own log."""

from datetime import datetime

from turncall.client.shapes import CredentialView, EntryView, KeyMade, KeyView, Page, ProjectView, Role
from turncall.client.transport import Transport
from turncall_proto.ids import CredentialId, KeyId


class Access(Transport):
    """Part of `TurnCall`."""

    async def projects(self, *, cursor: str | None = None, limit: int = 50) -> Page[ProjectView]:
        """All projects, newest first. Needs the platform key."""
        return await self.request("GET", "/v1/projects", Page[ProjectView], query={"cursor": cursor, "limit": limit})

    async def platform_audit(
        self, *, cursor: str | None = None, limit: int = 50, **filters: str | None
    ) -> Page[EntryView]:
        """What was done with the platform key, newest first; ``filters`` are the API's. Needs the platform key."""
        query = {"cursor": cursor, "limit": limit, **filters}
        return await self.request("GET", "/v1/platform/audit", Page[EntryView], query=query)

    async def create_key(self, name: str, role: Role, *, expires_at: datetime | None = None) -> KeyMade:
        """A key of the project, at most as strong as the one that asks."""
        body = {"name": name, "role": role, "expires_at": expires_at}
        return await self.request("POST", "/v1/keys", KeyMade, body=body)

    async def keys(
        self, *, cursor: str | None = None, role: Role | None = None, is_live: bool | None = None
    ) -> Page[KeyView]:
        """The project's keys, newest first, revoked ones included."""
        live = None if is_live is None else str(is_live).lower()
        query = {"cursor": cursor, "role": role, "is_live": live}
        return await self.request("GET", "/v1/keys", Page[KeyView], query=query)

    async def revoke_key(self, key_id: KeyId) -> KeyView:
        """Ends a key, everywhere within five seconds."""
        return await self.request("DELETE", f"/v1/keys/{key_id}", KeyView)

    async def credential(self, credential_id: CredentialId) -> CredentialView:
        """One credential, without its secret."""
        return await self.request("GET", f"/v1/credentials/{credential_id}", CredentialView)

    async def delete_credential(self, credential_id: CredentialId) -> None:
        """Forgets a credential; the installation's serves in its place, if there is one. Needs an admin's key."""
        await self.perform("DELETE", f"/v1/credentials/{credential_id}")
