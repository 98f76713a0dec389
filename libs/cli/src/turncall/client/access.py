"""Who may use an installation, and who is not called by it: projects, keys and credentials, the operator's own log."""

from collections.abc import Sequence
from datetime import datetime

from turncall.client.shapes import (
    CredentialView,
    DoNotCallView,
    EntryView,
    KeyMade,
    KeyView,
    Listing,
    Page,
    ProjectView,
    Role,
)
from turncall.client.transport import Transport
from turncall_proto.ids import CredentialId, DoNotCallId, KeyId


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

    async def add_do_not_call(self, numbers: Sequence[str], *, note: str = "") -> Listing:
        """Numbers that the project's agents are not to call any more, 1,000 at most."""
        body = {"numbers": numbers, "note": note}
        return await self.request("PUT", "/v1/do-not-call", Listing, body=body)

    async def do_not_call(self, *, cursor: str | None = None, number: str | None = None) -> Page[DoNotCallView]:
        """The numbers that are not called, newest first; with ``number``, whether that one is among them."""
        query = {"cursor": cursor, "number": number}
        return await self.request("GET", "/v1/do-not-call", Page[DoNotCallView], query=query)

    async def do_not_call_entry(self, entry_id: DoNotCallId) -> DoNotCallView:
        """One number that is not called."""
        return await self.request("GET", f"/v1/do-not-call/{entry_id}", DoNotCallView)

    async def delete_do_not_call(self, entry_id: DoNotCallId) -> None:
        """Lets a number be called again."""
        await self.perform("DELETE", f"/v1/do-not-call/{entry_id}")
