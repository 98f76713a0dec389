"""The REST API, one method a request. Every method raises `ApiError` and `Unreachable`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from turncall.client.access import Access
from turncall.client.knowledge import Knowledge
from turncall.client.shapes import (
    AgentApplied,
    AgentFile,
    AgentSummary,
    AgentView,
    AnalysisView,
    Busy,
    CallAnalyses,
    CallUsage,
    CallView,
    CandidatesTaken,
    Channels,
    ClientTokenMade,
    CommandTaken,
    Connected,
    CredentialView,
    DeliveryView,
    DrainTaken,
    EndTaken,
    EntryView,
    Exchange,
    Fallback,
    IceServers,
    KeyMade,
    MessageView,
    NumberCheck,
    NumberErased,
    NumberView,
    OutboundCall,
    OwnedNumbers,
    Page,
    ParkedDone,
    ParkedSeen,
    ProjectDeletion,
    ProjectView,
    RecordingLink,
    Redelivering,
    Role,
    SessionView,
    SigningSecret,
    StoredFact,
    Target,
    ToolUses,
    Transcript,
    Turns,
    UsageSummary,
    Verdict,
    Verification,
    VersionView,
    WebhookMade,
    WebhookView,
    WorkersSeen,
)
from turncall.client.suites import Suites
from turncall.client.takeaways import Takeaways
from turncall.client.versions import Versions
from turncall_proto.agent import AgentSpec
from turncall_proto.ids import (
    AgentId,
    CallId,
    CredentialId,
    DeliveryId,
    KeyId,
    NumberId,
    ProjectId,
    SessionId,
    WebhookId,
    WorkerId,
)

Config = AgentSpec | Mapping[str, Any]


class TurnCall(Access, Knowledge, Suites, Takeaways, Versions):
    """``async with TurnCall(url, key=…) as api``: one installation seen with one credential.

    ``platform_key`` opens the operator's requests (projects and their first keys), ``key`` a project's own.
    """

    async def create_project(self, name: str) -> ProjectView:
        """A new project. Needs the platform key."""
        return await self.request("POST", "/v1/projects", ProjectView, body={"name": name})

    async def workers(self) -> WorkersSeen:
        """The media workers. Needs the platform key."""
        return await self.request("GET", "/v1/workers", WorkersSeen)

    async def drain_worker(self, worker_id: WorkerId, *, handover_after_s: float | None = None) -> DrainTaken:
        """Has a worker finish its calls and end. Needs the platform key."""
        body = {"handover_after_s": handover_after_s}
        return await self.request("POST", f"/v1/workers/{worker_id}/drain", DrainTaken, body=body)

    async def parked_messages(self, *, after: int = 0) -> ParkedSeen:
        """Messages that no consumer could take, behind the one with the id ``after``. Needs the platform key."""
        return await self.request("GET", "/v1/parked-messages", ParkedSeen, query={"after": after})

    async def replay_parked_messages(self, ids: Sequence[int]) -> ParkedDone:
        """Puts parked messages, 200 at most, back into their streams. Needs the platform key."""
        return await self.request("POST", "/v1/parked-messages/replay", ParkedDone, body={"ids": ids})

    async def drop_parked_messages(self, ids: Sequence[int]) -> ParkedDone:
        """Forgets parked messages, 200 at most, for good. Needs the platform key."""
        return await self.request("POST", "/v1/parked-messages/drop", ParkedDone, body={"ids": ids})

    async def project(self, project_id: ProjectId) -> ProjectView:
        """The project that the key belongs to, with its settings."""
        return await self.request("GET", f"/v1/projects/{project_id}", ProjectView)

    async def change_project(
        self, project_id: ProjectId, *, name: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> ProjectView:
        """Changes what is given: ``settings={"retention": {"recordings_days": 30}}``. Needs an admin's key."""
        body = {key: value for key, value in (("name", name), ("settings", settings)) if value is not None}
        return await self.request("PATCH", f"/v1/projects/{project_id}", ProjectView, body=body)

    async def delete_project(self, project_id: ProjectId) -> ProjectDeletion:
        """Stops a project; it is purged after the installation's grace period. Needs the platform key."""
        return await self.request("DELETE", f"/v1/projects/{project_id}", ProjectDeletion)

    async def purge_project(self, project_id: ProjectId) -> ProjectDeletion:
        """Deletes everything in a deleted project for good. Needs the platform key."""
        return await self.request("POST", f"/v1/projects/{project_id}/purge", ProjectDeletion)

    async def create_first_key(self, project_id: ProjectId, name: str, role: Role) -> KeyMade:
        """A key for any project. Needs the platform key."""
        return await self.request("POST", f"/v1/projects/{project_id}/keys", KeyMade, body={"name": name, "role": role})

    async def rotate_key(self, key_id: KeyId, *, overlap_s: int = 86_400) -> KeyMade:
        """A successor of a key; the old one works beside it for ``overlap_s``."""
        return await self.request("POST", f"/v1/keys/{key_id}/rotate", KeyMade, body={"overlap_s": overlap_s})

    async def audit(self, *, cursor: str | None = None, limit: int = 50, **filters: str | None) -> Page[EntryView]:
        """Who changed or listened to what, newest first; ``filters`` are the API's. Needs an admin's key."""
        query = {"cursor": cursor, "limit": limit, **filters}
        return await self.request("GET", "/v1/audit", Page[EntryView], query=query)

    async def signing_secret(self, project_id: ProjectId) -> SigningSecret:
        """What to verify the requests of the project's tools with. Needs an admin's key."""
        return await self.request("GET", f"/v1/projects/{project_id}/signing-secret", SigningSecret)

    async def rotate_signing_secret(self, project_id: ProjectId, *, overlap_s: int = 86_400) -> SigningSecret:
        """A new signing secret; the one before signs as well for ``overlap_s``. Needs an admin's key."""
        body = {"overlap_s": overlap_s}
        return await self.request("POST", f"/v1/projects/{project_id}/signing-secret/rotate", SigningSecret, body=body)

    async def put_vendor_key(self, vendor: str, key: str) -> CredentialView:
        """The project's own key at a model vendor. Needs an admin's key."""
        body = {"kind": "vendor", "vendor": vendor, "key": key}
        return await self.request("PUT", "/v1/credentials", CredentialView, body=body)

    async def put_twilio_account(
        self, account_sid: str, auth_token: str, *, secondary_auth_token: str | None = None
    ) -> CredentialView:
        """The project's own Twilio account. Needs an admin's key."""
        body = {
            "kind": "twilio",
            "account_sid": account_sid,
            "auth_token": auth_token,
            "secondary_auth_token": secondary_auth_token,
        }
        return await self.request("PUT", "/v1/credentials", CredentialView, body=body)

    async def put_whatsapp_sender(
        self,
        phone_number_id: str,
        access_token: str,
        app_secret: str,
        verify_token: str,
        *,
        secondary_app_secret: str | None = None,
    ) -> CredentialView:
        """A number of the project's WhatsApp business account. Needs an admin's key."""
        body = {
            "kind": "whatsapp",
            "phone_number_id": phone_number_id,
            "access_token": access_token,
            "app_secret": app_secret,
            "secondary_app_secret": secondary_app_secret,
            "verify_token": verify_token,
        }
        return await self.request("PUT", "/v1/credentials", CredentialView, body=body)

    async def put_bucket(
        self, bucket: str, access_key: str, secret_key: str, *, endpoint: str | None = None, region: str = "us-east-1"
    ) -> CredentialView:
        """The project's own bucket, into which recordings are moved. Needs an admin's key."""
        body = {"kind": "s3", "bucket": bucket, "access_key": access_key, "secret_key": secret_key, "region": region}
        body |= {} if endpoint is None else {"endpoint": endpoint}
        return await self.request("PUT", "/v1/credentials", CredentialView, body=body)

    async def put_server_headers(self, host: str, headers: Mapping[str, str]) -> CredentialView:
        """Secret headers that webhook tools and MCP servers at this host are to get. Needs an admin's key."""
        body = {"kind": "server", "host": host, "headers": headers}
        return await self.request("PUT", "/v1/credentials", CredentialView, body=body)

    async def credentials(self, *, cursor: str | None = None) -> Page[CredentialView]:
        """The project's credentials, newest first, without their secrets."""
        return await self.request("GET", "/v1/credentials", Page[CredentialView], query={"cursor": cursor})

    async def verify_credential(self, credential_id: CredentialId, *, base_url: str | None = None) -> Verification:
        """Has the vendor, the server at ``base_url``, or the carrier asked whether it accepts the credential."""
        path = f"/v1/credentials/{credential_id}/verify"
        return await self.request("POST", path, Verification, body={"base_url": base_url})

    async def create_agent(self, name: str, config: Config) -> AgentView:
        """A new agent whose first draft is ``config``."""
        return await self.request("POST", "/v1/agents", AgentView, body={"name": name, "config": config})

    async def agents(
        self, *, cursor: str | None = None, name: str | None = None, environment: str | None = None
    ) -> Page[AgentSummary]:
        """The project's agents, newest first."""
        query = {"cursor": cursor, "name": name, "environment": environment}
        return await self.request("GET", "/v1/agents", Page[AgentSummary], query=query)

    async def validate_agent(self, config: Config) -> Verdict:
        """Checks a config without storing it; one that is not valid raises `ApiError` with its faults."""
        return await self.request("POST", "/v1/agents/validate", Verdict, body={"config": config})

    async def export_agent(self, agent_id: AgentId, version: Literal["published", "draft"] = "published") -> AgentFile:
        """The agent as one file."""
        return await self.request("GET", f"/v1/agents/{agent_id}/export", AgentFile, query={"version": version})

    async def import_agent(
        self, file: AgentFile | Mapping[str, Any], *, publish: bool = False, dry_run: bool = False
    ) -> AgentApplied:
        """Brings the agent of the file's name and environment to the file's config."""
        query = {"publish": str(publish).lower(), "dry_run": str(dry_run).lower()}
        return await self.request("POST", "/v1/agents/import", AgentApplied, body=file, query=query)

    async def put_draft(self, agent_id: AgentId, config: Config) -> VersionView:
        """Replaces the agent's draft, or starts one."""
        return await self.request("PUT", f"/v1/agents/{agent_id}/draft", VersionView, body={"config": config})

    async def publish_agent(self, agent_id: AgentId) -> VersionView:
        """Makes the draft what answers calls."""
        return await self.request("POST", f"/v1/agents/{agent_id}/publish", VersionView)

    async def bind_number(
        self,
        number: str,
        routing: Target,
        *,
        carrier: Literal["twilio", "whatsapp"] = "twilio",
        **settings: Fallback | Busy | Channels | int | None,
    ) -> NumberView:
        """Takes calls and messages of a number of the carrier's account (E.164 or the carrier's id).

        ``settings`` are ``fallback``, ``busy``, ``channels`` and ``max_concurrent_calls``.
        """
        body = {"number": number, "carrier": carrier, "routing": routing, **settings}
        return await self.request("POST", "/v1/numbers", NumberView, body=body)

    async def change_number(
        self, number_id: NumberId, **settings: Target | Fallback | Busy | Channels | int | None
    ) -> NumberView:
        """Replaces ``routing``, ``fallback``, ``busy``, ``channels`` or ``max_concurrent_calls`` from the next call."""
        return await self.request("PATCH", f"/v1/numbers/{number_id}", NumberView, body=settings)

    async def numbers(self, *, cursor: str | None = None) -> Page[NumberView]:
        """The project's numbers, newest first."""
        return await self.request("GET", "/v1/numbers", Page[NumberView], query={"cursor": cursor})

    async def owned_numbers(self) -> OwnedNumbers:
        """What the carrier's account owns, so that it can be bound."""
        return await self.request("GET", "/v1/numbers/available", OwnedNumbers)

    async def number(self, number_id: NumberId) -> NumberView:
        """One number."""
        return await self.request("GET", f"/v1/numbers/{number_id}", NumberView)

    async def unbind_number(self, number_id: NumberId) -> None:
        """Takes our addresses off the number at the carrier and forgets it; the account keeps it."""
        await self.perform("DELETE", f"/v1/numbers/{number_id}")

    async def check_number(self, number_id: NumberId) -> NumberCheck:
        """Whether the number would work if it were called; nothing is changed."""
        return await self.request("GET", f"/v1/numbers/{number_id}/check", NumberCheck)

    async def configure_number(self, number_id: NumberId) -> NumberView:
        """Tells the carrier once more where the number's calls go."""
        return await self.request("POST", f"/v1/numbers/{number_id}/configure", NumberView)

    async def calls(self, *, cursor: str | None = None, limit: int = 50, **filters: str | None) -> Page[CallView]:
        """The project's calls, newest first; ``filters`` are the query parameters of the API, such as ``status``."""
        return await self.request(
            "GET", "/v1/calls", Page[CallView], query={"cursor": cursor, "limit": limit, **filters}
        )

    async def call(self, call_id: CallId) -> CallView:
        """One call as it stands."""
        return await self.request("GET", f"/v1/calls/{call_id}", CallView)

    async def mark_call(self, call_id: CallId, metadata: Mapping[str, str | None]) -> CallView:
        """Changes the call's metadata key by key; None takes a key away."""
        return await self.request("PATCH", f"/v1/calls/{call_id}", CallView, body={"metadata": metadata})

    async def events(
        self, call_id: CallId, *, cursor: str | None = None, limit: int = 200, internal: bool = False
    ) -> Page[StoredFact]:
        """What happened on a call, oldest first; ``internal`` adds what never leaves as a webhook."""
        query = {"cursor": cursor, "limit": limit, "internal": "true" if internal else None}
        return await self.request("GET", f"/v1/calls/{call_id}/events", Page[StoredFact], query=query)

    async def transcript(self, call_id: CallId) -> Transcript:
        """What both sides said."""
        return await self.request("GET", f"/v1/calls/{call_id}/transcript", Transcript)

    async def analyses(self, call_id: CallId) -> CallAnalyses:
        """What was made of the call after its end, the newest reading first."""
        return await self.request("GET", f"/v1/calls/{call_id}/analysis", CallAnalyses)

    async def analyse(self, call_id: CallId) -> AnalysisView:
        """Has a call that is over read anew."""
        return await self.request("POST", f"/v1/calls/{call_id}/analysis", AnalysisView)

    async def tools(self, call_id: CallId) -> ToolUses:
        """The tools that the agent used."""
        return await self.request("GET", f"/v1/calls/{call_id}/tools", ToolUses)

    async def turns(self, call_id: CallId) -> Turns:
        """How long the caller waited for each reply."""
        return await self.request("GET", f"/v1/calls/{call_id}/turns", Turns)

    async def recording(self, call_id: CallId, *, start: int | None = None, end: int | None = None) -> bytes:
        """The recording as a stereo WAV file (caller left, agent right), or a range of its bytes."""
        return await self.download(f"/v1/calls/{call_id}/recording", start=start, end=end)

    async def recording_link(self, call_id: CallId, *, lifetime_s: int = 900) -> RecordingLink:
        """A link to the recording that opens without a key, for a while."""
        return await self.request(
            "POST", f"/v1/calls/{call_id}/recording/link", RecordingLink, query={"lifetime_s": lifetime_s}
        )

    async def call_usage(self, call_id: CallId) -> CallUsage:
        """What each vendor did for the call, and what that costs where the operator has set prices."""
        return await self.request("GET", f"/v1/calls/{call_id}/usage", CallUsage)

    async def usage(
        self,
        by: Literal["day", "agent", "vendor"] = "day",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> UsageSummary:
        """What the project's calls used; the last 30 days unless told otherwise."""
        span = {name: moment.isoformat() for name, moment in (("since", since), ("until", until)) if moment}
        return await self.request("GET", "/v1/usage", UsageSummary, query={"by": by, **span})

    async def delete_call(self, call_id: CallId) -> None:
        """Deletes a settled call and everything known of it."""
        await self.perform("DELETE", f"/v1/calls/{call_id}")

    async def delete_calls_of_number(self, number: str) -> NumberErased:
        """Deletes the settled calls from and to a person's number; ask again until nothing is left."""
        return await self.request("POST", "/v1/calls/delete-by-number", NumberErased, body={"number": number})

    async def place_call(self, to: str, from_: str, *, key: str = "", **wanted: Any) -> OutboundCall:
        """Has an agent call somebody from a number of the project. ``wanted`` are further fields of the API: an
        ``agent_id`` or ``version_id``, ``variables``, ``not_before``. The same ``key`` asks for the same call."""
        body = {"to": to, "from": from_, **wanted}
        return await self.request("POST", "/v1/calls/outbound", OutboundCall, body=body, key=key)

    async def create_client_token(self, **wanted: Any) -> ClientTokenMade:
        """A token with which a page calls an agent once. ``wanted`` are fields of the API: ``agent_id``, ``version_id``
        or ``routing`` with ``fallback_agent_id``; ``variables``, ``metadata``, ``origins``, ``expires_in_s``,
        ``max_duration_s``."""
        return await self.request("POST", "/v1/webrtc/tokens", ClientTokenMade, body=wanted)

    async def ice_servers(self) -> IceServers:
        """What a page's connection is made with."""
        return await self.request("GET", "/v1/webrtc/ice-servers", IceServers)

    async def connect_browser(
        self, sdp: str, *, pc_id: str | None = None, restart_pc: bool = False, **wanted: Any
    ) -> Connected:
        """Calls an agent with a page's offer of sound, or goes on with the call ``pc_id``. ``wanted`` are fields of a
        new call: ``agent_id``, ``version_id`` or ``routing``, ``variables``, ``metadata``."""
        body: dict[str, Any] = {"sdp": sdp, "type": "offer", "pc_id": pc_id, "restart_pc": restart_pc}
        if wanted:
            body["requestData"] = wanted
        return await self.request("POST", "/v1/webrtc/connect", Connected, body=body)

    async def trickle_candidates(self, pc_id: str, candidates: Sequence[Mapping[str, Any]]) -> CandidatesTaken:
        """Tells of addresses of the page that became known after its offer."""
        body = {"pc_id": pc_id, "candidates": list(candidates)}
        return await self.request("PATCH", "/v1/webrtc/connect", CandidatesTaken, body=body)

    async def end_call(self, call_id: CallId) -> EndTaken:
        """Ends a live call."""
        return await self.request("POST", f"/v1/calls/{call_id}/end", EndTaken)

    async def say(self, call_id: CallId, text: str) -> CommandTaken:
        """Has the agent of a live call say this."""
        return await self.request("POST", f"/v1/calls/{call_id}/say", CommandTaken, body={"text": text})

    async def inject(
        self,
        call_id: CallId,
        text: str,
        *,
        role: Literal["system", "user"] = "system",
        is_answered: bool = False,
    ) -> CommandTaken:
        """Has the agent's model know this; with ``is_answered`` it speaks about it at once."""
        body = {"text": text, "role": role, "is_answered": is_answered}
        return await self.request("POST", f"/v1/calls/{call_id}/inject", CommandTaken, body=body)

    async def mute(self, call_id: CallId) -> CommandTaken:
        """Silences the agent; it listens on."""
        return await self.request("POST", f"/v1/calls/{call_id}/mute", CommandTaken)

    async def pause_recording(self, call_id: CallId) -> CommandTaken:
        """Leaves what is said from here on out of the recording."""
        return await self.request("POST", f"/v1/calls/{call_id}/recording/pause", CommandTaken)

    async def resume_recording(self, call_id: CallId) -> CommandTaken:
        """Records again."""
        return await self.request("POST", f"/v1/calls/{call_id}/recording/resume", CommandTaken)

    async def unmute(self, call_id: CallId) -> CommandTaken:
        """Lets the agent speak again."""
        return await self.request("POST", f"/v1/calls/{call_id}/unmute", CommandTaken)

    async def hand_off(self, call_id: CallId, agent_id: AgentId, *, reason: str = "") -> CommandTaken:
        """Gives a live call to another agent of the project."""
        body = {"agent_id": agent_id, "reason": reason}
        return await self.request("POST", f"/v1/calls/{call_id}/handoff", CommandTaken, body=body)

    async def transfer(self, call_id: CallId, to: str, **how: str | int) -> CommandTaken:
        """Connects the caller to a person; ``how``: ``mode``, ``message``, ``briefing``, ``accept_key``, ``ring_s``."""
        return await self.request("POST", f"/v1/calls/{call_id}/transfer", CommandTaken, body={"to": to, **how})

    async def send_dtmf(self, call_id: CallId, digits: str) -> CommandTaken:
        """Has the other side hear these keys."""
        return await self.request("POST", f"/v1/calls/{call_id}/dtmf", CommandTaken, body={"digits": digits})

    async def follow(self, call_id: CallId, *, internal: bool = False, after: int = 0) -> AsyncIterator[StoredFact]:
        """What happened so far and then what happens, to ``call.ended``; passing talk without a number is left out.

        With ``after`` only what is behind that ``call_seq``: to go on where a feed broke off.
        """
        query = "?internal=true" if internal else ""
        async for event in self.live(f"/v1/calls/{call_id}/events/stream{query}", after=str(after) if after else ""):
            if event.id:
                yield msgspec.json.decode(event.data, type=StoredFact)

    async def create_session(
        self,
        agent_id: AgentId,
        contact: str,
        *,
        resume: bool = False,
        variables: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str = "",
    ) -> SessionView:
        """Begins a conversation in writing, or with ``resume`` goes on with the one that lives, if there is one."""
        texts = {"variables": variables or {}, "metadata": metadata or {}}
        body = {"agent_id": agent_id, "contact": contact, "resume": resume, **texts}
        return await self.request("POST", "/v1/sessions", SessionView, body=body, key=key)

    async def open_session(self, link: str) -> SessionView:
        """The session behind the ``session`` in the query of a link that an agent has sent."""
        return await self.request("POST", "/v1/sessions/open", SessionView, body={"session": link})

    async def send_message(
        self,
        to: str,
        from_: str,
        text: str,
        *,
        channel: Literal["sms", "whatsapp"] = "sms",
        template: Mapping[str, Any] | None = None,
        agent_id: AgentId | None = None,
        variables: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str = "",
    ) -> MessageView:
        """Writes to a contact's phone, in their session; how far it has come is in the session's messages.

        ``template`` has name, language and parameters: for WhatsApp, to who has not written for a day.
        """
        body = {
            "to": to,
            "from": from_,
            "text": text,
            "channel": channel,
            "template": template,
            "agent_id": agent_id,
            "variables": variables or {},
            "metadata": metadata or {},
        }
        return await self.request("POST", "/v1/messages", MessageView, body=body, key=key)

    async def sessions(
        self,
        *,
        state: str | None = None,
        agent_id: AgentId | None = None,
        contact: str | None = None,
        cursor: str | None = None,
        **wanted: Any,
    ) -> Page[SessionView]:
        """Conversations in writing, newest first. ``wanted`` are further filters: ``channel``, ``version_id``,
        ``variant``, ``number_id``, ``metadata``, ``created_from``, ``created_until``."""
        query = {"state": state, "agent_id": agent_id, "contact": contact, "cursor": cursor, **wanted}
        return await self.request("GET", "/v1/sessions", Page[SessionView], query=query)

    async def session(self, session_id: SessionId) -> SessionView:
        """One conversation in writing."""
        return await self.request("GET", f"/v1/sessions/{session_id}", SessionView)

    async def messages(self, session_id: SessionId, *, cursor: str | None = None) -> Page[MessageView]:
        """What was written, oldest first."""
        path = f"/v1/sessions/{session_id}/messages"
        return await self.request("GET", path, Page[MessageView], query={"cursor": cursor})

    async def write(self, session_id: SessionId, text: str, *, author: str = "contact", key: str = "") -> Exchange:
        """Writes a message and waits for the answer, half a minute here; one that comes later is in the messages."""
        path = f"/v1/sessions/{session_id}/messages"
        return await self.request("POST", path, Exchange, body={"text": text, "author": author}, key=key)

    async def write_streamed(self, session_id: SessionId, text: str) -> AsyncIterator[tuple[str, Any]]:
        """Writes a message; the events of its answer and their data: `message.delta`, then `message` or `no_answer`."""
        path = f"/v1/sessions/{session_id}/messages/stream"
        async for event in self.live(path, body={"text": text, "author": "contact"}):
            yield event.event, msgspec.json.decode(event.data)

    async def take_over(self, session_id: SessionId) -> SessionView:
        """A person writes in the agent's place from here on."""
        return await self.request("POST", f"/v1/sessions/{session_id}/take-over", SessionView)

    async def release(self, session_id: SessionId) -> SessionView:
        """The agent answers again."""
        return await self.request("POST", f"/v1/sessions/{session_id}/release", SessionView)

    async def end_session(self, session_id: SessionId) -> SessionView:
        """Ends a conversation in writing."""
        return await self.request("POST", f"/v1/sessions/{session_id}/end", SessionView)

    async def delete_session(self, session_id: SessionId) -> None:
        """Deletes a conversation in writing and everything known of it."""
        await self.perform("DELETE", f"/v1/sessions/{session_id}")

    async def create_webhook(
        self,
        url: str,
        *,
        event_types: Sequence[str] = (),
        agent_id: AgentId | None = None,
        description: str = "",
        is_enabled: bool = True,
    ) -> WebhookMade:
        """Subscribes a URL to events: all of them unless some are named, of all agents unless one is."""
        body = {
            "url": url,
            "event_types": event_types,
            "agent_id": agent_id,
            "description": description,
            "is_enabled": is_enabled,
        }
        return await self.request("POST", "/v1/webhooks", WebhookMade, body=body)

    async def webhooks(self, *, cursor: str | None = None) -> Page[WebhookView]:
        """The project's subscriptions, newest first."""
        return await self.request("GET", "/v1/webhooks", Page[WebhookView], query={"cursor": cursor})

    async def webhook(self, webhook_id: WebhookId) -> WebhookView:
        """One subscription."""
        return await self.request("GET", f"/v1/webhooks/{webhook_id}", WebhookView)

    async def change_webhook(self, webhook_id: WebhookId, **fields: Any) -> WebhookView:
        """Changes the fields that are given, as `create_webhook` names them; ``is_enabled=True`` brings one back."""
        return await self.request("PATCH", f"/v1/webhooks/{webhook_id}", WebhookView, body=fields)

    async def delete_webhook(self, webhook_id: WebhookId) -> None:
        """Ends a subscription."""
        await self.perform("DELETE", f"/v1/webhooks/{webhook_id}")

    async def rotate_webhook_secret(self, webhook_id: WebhookId) -> WebhookMade:
        """Another secret; the one that it replaces signs beside it for a day."""
        return await self.request("POST", f"/v1/webhooks/{webhook_id}/rotate-secret", WebhookMade)

    async def send_test_event(self, webhook_id: WebhookId) -> DeliveryView:
        """Sends ``webhook.test`` once."""
        return await self.request("POST", f"/v1/webhooks/{webhook_id}/test", DeliveryView)

    async def deliveries(
        self, *, cursor: str | None = None, limit: int = 50, **filters: str | None
    ) -> Page[DeliveryView]:
        """The log, newest first; ``filters`` are the query parameters of the API, such as ``webhook_id``."""
        query = {"cursor": cursor, "limit": limit, **filters}
        return await self.request("GET", "/v1/webhook-deliveries", Page[DeliveryView], query=query)

    async def delivery(self, delivery_id: DeliveryId) -> DeliveryView:
        """One delivery with its attempts."""
        return await self.request("GET", f"/v1/webhook-deliveries/{delivery_id}", DeliveryView)

    async def redeliver(self, delivery_id: DeliveryId) -> DeliveryView:
        """Sends one event again, under its id."""
        return await self.request("POST", f"/v1/webhook-deliveries/{delivery_id}/redeliver", DeliveryView)

    async def redeliver_since(
        self,
        webhook_id: WebhookId,
        since: datetime,
        *,
        until: datetime | None = None,
        status: Literal["failed", "delivered"] = "failed",
    ) -> Redelivering:
        """Sends the oldest of a subscription's deliveries of a period again."""
        body = {"since": since, "until": until, "status": status}
        return await self.request("POST", f"/v1/webhooks/{webhook_id}/redeliver", Redelivering, body=body)
