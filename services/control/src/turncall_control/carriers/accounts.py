"""Whose account at a carrier is used: a project's own before the installation's, one HTTP client for all of them."""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from turncall_control.carriers import browser, twilio, whatsapp
from turncall_control.carriers.base import Carrier, Dialled, Line, Messenger, NotAuthorised
from turncall_control.carriers.browser import BrowserLine
from turncall_control.carriers.twilio import HttpClient
from turncall_control.carriers.whatsapp import Graph, WhatsApp
from turncall_control.carriers.whatsapp_calls import WhatsAppLine
from turncall_control.envelope import CannotDecrypt
from turncall_control.wallet import TWILIO, TwilioAccount, Wallets, WhatsAppSender
from turncall_proto.ids import ProjectId

KEEP_S: Final = 30.0
"""How long a connected account, which holds its token, is kept; connecting one takes 2.3 ms (measured)."""
KEPT: Final = 256


class Proof(Struct, frozen=True, kw_only=True):
    """What a webhook's signature proves: the carrier's account, and who among us holds the token that signed it.

    Whoever holds a token can sign with it, so it counts for the projects that hold it alone, and for every project
    when it is the installation's.
    """

    account: str
    is_installations: bool
    holders: frozenset[ProjectId]

    def covers(self, project_id: ProjectId, account: str) -> bool:
        """Whether this is proof about a number or a call of a project, in that account."""
        return account == self.account and (self.is_installations or project_id in self.holders)


class Accounts:
    """The carriers' accounts that this process may use. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        wallets: Wallets,
        http: HttpClient,
        graph: Graph,
        installation: TwilioAccount | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wallets = wallets
        self._http = http
        self._graph = graph
        self._installation = installation
        self._clock = clock
        self._kept: OrderedDict[str, tuple[TwilioAccount, Carrier, float]] = OrderedDict()

    @property
    def installation(self) -> str:
        """The installation's account; empty when the operator has configured none."""
        return self._installation.account_sid if self._installation else ""

    async def of_project(self, project_id: ProjectId, provider: str) -> Carrier | None:
        """The account for what a project begins: its own, or the installation's, or none.

        Raises `NotAuthorised` when its own cannot be decrypted.
        """
        if provider != twilio.PROVIDER:
            return None
        account = await self._own(project_id)
        return self._connected(project_id, account) or self._connected("", self._installation)

    async def holding(self, project_id: ProjectId, provider: str, account_sid: str) -> Carrier | None:
        """The account in which a project's number or call lives; None when it is no longer held.

        An empty ``account_sid`` is the installation's. Raises `NotAuthorised` when the project's cannot be decrypted.
        """
        if provider != twilio.PROVIDER:
            return None
        if account_sid in ("", self.installation):
            return self._connected("", self._installation)
        account = await self._own(project_id)
        return self._connected(project_id, account) if account and account.account_sid == account_sid else None

    async def line(self, project_id: ProjectId, provider: str, account_sid: str) -> Line | None:
        """What holds the line of a project's call; None when its account is no longer held.

        Raises `NotAuthorised` when the project's account cannot be decrypted.
        """
        if provider == browser.PROVIDER:
            return BrowserLine()
        if provider == whatsapp.PROVIDER:
            return await self.whatsapp_line(project_id, account_sid)
        return await self.holding(project_id, provider, account_sid)

    async def dialled(self, project_id: ProjectId, provider: str, account_sid: str) -> Dialled | None:
        """Where a project's call was placed; None when its account is no longer held. Raises `NotAuthorised`."""
        if provider == whatsapp.PROVIDER:
            return await self.whatsapp_line(project_id, account_sid)
        return await self.holding(project_id, provider, account_sid)

    async def messenger(self, project_id: ProjectId, provider: str, account: str) -> Messenger | None:
        """Who carries the messages of a number in this account; None when it is no longer held.

        Raises `NotAuthorised` when the project's cannot be decrypted.
        """
        if provider == whatsapp.PROVIDER:
            return await self.whatsapp(project_id, account)
        return await self.holding(project_id, provider, account)

    async def whatsapp(self, project_id: ProjectId, phone_number_id: str) -> WhatsApp | None:
        """The project's WhatsApp sender of this id, if it has one. Raises `NotAuthorised`."""
        return next((one for one in await self.senders(project_id) if one.account == phone_number_id), None)

    async def whatsapp_line(self, project_id: ProjectId, phone_number_id: str) -> WhatsAppLine | None:
        """The lines of the project's WhatsApp sender of this id, if it has one. Raises `NotAuthorised`."""
        held = await self._senders(project_id)
        return next((WhatsAppLine(self._graph, one) for one in held if one.phone_number_id == phone_number_id), None)

    async def senders(self, project_id: ProjectId) -> list[WhatsApp]:
        """All of the project's WhatsApp senders. Raises `NotAuthorised` when they cannot be decrypted."""
        return [WhatsApp(self._graph, one) for one in await self._senders(project_id)]

    async def prove(self, account_sid: str, signed_with: Callable[[TwilioAccount], bool]) -> Proof | None:
        """Who holds the token that a webhook is signed with, if anybody; ``account_sid`` is what the webhook claims."""
        own = self._installation
        is_installations = own is not None and own.account_sid == account_sid and signed_with(own)
        holders = frozenset(
            project_id for project_id, account in await self._wallets.holders(account_sid) if signed_with(account)
        )
        for project_id in holders:
            self._wallets.used(project_id, TWILIO, [account_sid])
        if not is_installations and not holders:
            return None
        return Proof(account=account_sid, is_installations=is_installations, holders=holders)

    async def _senders(self, project_id: ProjectId) -> tuple[WhatsAppSender, ...]:
        try:
            return (await self._wallets.open(project_id)).whatsapp
        except CannotDecrypt as error:
            raise NotAuthorised(f"the senders of {project_id} cannot be used: {error}") from error

    async def _own(self, project_id: ProjectId) -> TwilioAccount | None:
        try:
            return (await self._wallets.open(project_id)).twilio
        except CannotDecrypt as error:
            raise NotAuthorised(f"the account of {project_id} cannot be used: {error}") from error

    def _connected(self, holder: str, account: TwilioAccount | None) -> Carrier | None:
        if account is None:
            return None
        now_s = self._clock()
        while self._kept and (next(iter(self._kept.values()))[2] <= now_s or len(self._kept) >= KEPT):
            self._kept.popitem(last=False)
        if holder:
            self._wallets.used(ProjectId(holder), TWILIO, [account.account_sid])
        kept = self._kept.get(holder)
        if kept is not None and kept[0] == account:
            return kept[1]
        carrier = twilio.account(self._http, account)
        self._kept.pop(holder, None)
        self._kept[holder] = account, carrier, now_s + KEEP_S
        return carrier


@asynccontextmanager
async def opened(
    wallets: Wallets, installation: TwilioAccount | None, base_url: str, whatsapp_base_url: str
) -> AsyncIterator[Accounts]:
    """The accounts, over connections that are closed at the end."""
    async with twilio.reached(base_url) as http, whatsapp.reached(whatsapp_base_url) as graph:
        yield Accounts(wallets, http, graph, installation)
