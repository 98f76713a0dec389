"""Trying a credential: requests that cost nothing and leave nothing changed, documented by whoever answers them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from msgspec import Struct

from turncall_blobs import BlobError, StoreUnavailable, keys
from turncall_control.carriers.base import Carrier, CarrierError, Gone, NotAuthorised
from turncall_control.carriers.whatsapp import WhatsApp
from turncall_control.credentials.schemas import Verification
from turncall_control.errors import NotFound
from turncall_control.shelves import Shelves
from turncall_egress import EgressClient, EgressError, Wall
from turncall_proto.ids import ProjectId
from turncall_runtime.secret import Secret

WITHIN_S: Final = 10.0
MAX_BYTES: Final = 8 * 1024 * 1024
"""Lists of models are long at vendors that resell others'."""


_TRIED: Final = "verification.txt"


class Probe(Struct, frozen=True, kw_only=True):
    """A GET that a vendor answers by the key alone. ``prefix`` goes before the key in ``header``."""

    base_url: str
    path: str
    header: str = "Authorization"
    prefix: str = "Bearer "
    others: Mapping[str, str] = {}


PROBES: Final[Mapping[str, Probe]] = {
    # developers.openai.com/api/reference: "List models"; every server that speaks the protocol has it.
    "openai": Probe(base_url="https://api.openai.com/v1", path="/models"),
    # developers.deepgram.com/reference/auth: "Token-based authentication: details".
    "deepgram": Probe(base_url="https://api.deepgram.com", path="/v1/auth/token", prefix="Token "),
    # docs.anthropic.com/en/api/models-list
    "anthropic": Probe(
        base_url="https://api.anthropic.com",
        path="/v1/models",
        header="x-api-key",
        prefix="",
        others={"anthropic-version": "2023-06-01"},
    ),
}


async def ask_vendor(
    vendor: str, key: Secret, base_url: str | None, allowed: Sequence[IPv4Network | IPv6Network]
) -> Verification:
    """What the vendor, or the server at ``base_url`` which speaks its protocol, says to a key."""
    probe = PROBES.get(vendor)
    if probe is None:
        return Verification(outcome="unverifiable", detail=f"{vendor} has no request that would only try a key")
    url = (base_url or probe.base_url).rstrip("/") + probe.path
    headers = {probe.header: probe.prefix + key.reveal(), **probe.others}
    try:
        async with EgressClient(Wall(str(network) for network in allowed)) as client:
            answer = await client.request("GET", url, headers=headers, timeout_s=WITHIN_S, max_bytes=MAX_BYTES)
    except EgressError as error:
        return Verification(outcome="unreachable", detail=str(error))
    return _judged(vendor, answer.status)


async def ask_carrier(carrier: Carrier) -> Verification:
    """What the carrier says to an account and its token."""
    try:
        standing = await carrier.check()
    except NotAuthorised as error:
        return Verification(outcome="refused", detail=str(error))
    except CarrierError as error:
        return Verification(outcome="unreachable", detail=str(error))
    return Verification(outcome="accepted" if standing == "active" else "refused", detail=f"the account is {standing}")


async def ask_bucket(shelves: Shelves, project_id: ProjectId) -> Verification:
    """What a project's own bucket says to its keys: a few bytes are put there, found in its list, and deleted."""
    prefix = keys.recordings(project_id)
    try:
        async with shelves.own(project_id) as own:
            if own is None:
                raise NotFound
            await own.put(f"{prefix}{_TRIED}", b"TurnCall may write here.", "text/plain")
            is_listed = f"{prefix}{_TRIED}" in [key async for key in own.keys(prefix) if key.endswith(_TRIED)]
            await own.delete(f"{prefix}{_TRIED}")
    except StoreUnavailable as error:
        return Verification(outcome="unreachable", detail=str(error))
    except BlobError as error:
        return Verification(outcome="refused", detail=str(error))
    if not is_listed:
        return Verification(outcome="refused", detail="what was written is not in the bucket's list")
    return Verification(outcome="accepted", detail="the bucket was written to, listed and deleted from")


async def ask_sender(sender: WhatsApp | None) -> Verification:
    """What WhatsApp says to a sender's token."""
    if sender is None:
        return Verification(outcome="refused", detail="it cannot be decrypted any more")
    try:
        number = await sender.number()
    except (NotAuthorised, Gone) as error:
        return Verification(outcome="refused", detail=str(error))
    except CarrierError as error:
        return Verification(outcome="unreachable", detail=str(error))
    return Verification(outcome="accepted", detail=f"it may send from the number that ends in {number[-2:]}")


def _judged(vendor: str, status: int) -> Verification:
    said = f"{vendor} answered {status}"
    if HTTPStatus(status).is_success:
        return Verification(outcome="accepted", detail=said)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Verification(outcome="refused", detail=said)
    return Verification(outcome="unreachable", detail=f"{said}, which tells nothing about the key")
