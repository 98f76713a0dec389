"""The request to the user's server: signed, once more after a failure, within three seconds, and not to a dead one.

The request is signed by Standard Webhooks with the project's signing secrets, like those of its agents' tools; its
``webhook-id`` is the same in both attempts. A number may ask for replies that are signed likewise: with one of the same
secrets, under the same ``webhook-id``, so that no old reply fits another call.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError

from turncall_control.agents.check import check
from turncall_control.callinit.contract import TYPE, Arrival, Question, Reply
from turncall_control.envelope import CannotDecrypt
from turncall_control.errors import ControlError
from turncall_control.http.body import decoded
from turncall_control.plane import Plane
from turncall_control.projects.signing import signing_secrets
from turncall_control.routing import WebhookTarget
from turncall_control.vendors.catalogue import missing_keys
from turncall_control.wallet import Wallet
from turncall_egress import EgressAnswer, EgressError, Refused
from turncall_egress.signing import SignatureRefused, signed_headers, verify
from turncall_proto.ids import CallId
from turncall_runtime import logs

BUDGET_S: Final = 3.0
"""For both attempts. The carrier waits 15 s for its answer, and the caller hears ringing meanwhile."""
FIRST_ATTEMPT_S: Final = 2.0
LEAST_S: Final = 0.2
"""Less than this is not worth a second attempt."""
LARGEST_REPLY_BYTES: Final = 192 * 1024
"""A whole plan has to fit into the 256 KiB that the bus carries."""
CLAIMED_FOR_S: Final = 60
REDIS_WITHIN_S: Final = 0.25
_PASSING: Final = frozenset({408, 429})
_WHY_CHARACTERS: Final = 500

log = logs.logger(__name__)


class Asked(Struct, frozen=True, kw_only=True):
    """How the asking went: a reply that can be acted on, or why there is none."""

    reply: Reply | None = None
    why: str = ""
    asked_ms: int | None = None
    attempts: int = 0


class _NoAnswer(Exception):
    """An attempt that another one may mend."""


class _Unusable(Exception):
    """What the server says, or is, that no other attempt would change."""


async def is_first(plane: Plane, call_id: CallId) -> bool:
    """Whether nobody has begun to ask about this call: repeats of a carrier's webhook reach other replicas too.

    While Redis is away everybody is the first; the user's server sees one ``webhook-id`` twice then.
    """
    try:
        async with asyncio.timeout(REDIS_WITHIN_S):
            return bool(await plane.redis.set(f"tc:callinit:{call_id}", "asked", nx=True, ex=CLAIMED_FOR_S))
    except (RedisError, OSError, TimeoutError):
        return True


async def ask(plane: Plane, target: WebhookTarget, arrival: Arrival) -> Asked:
    """What the user's server says about a call; never raises for what that server does, or for its absence."""
    circuit = (arrival.project_id, target.url)
    if not plane.server_circuits.admits(circuit):
        plane.counts.asked.labels("not_asked").inc()
        return Asked(why="the server has failed repeatedly and is not asked for a while")
    began_s = time.monotonic()
    attempts, why, reply = 0, "", None
    try:
        wallet = await plane.wallets.open(arrival.project_id)
        for timeout_s in (FIRST_ATTEMPT_S, BUDGET_S):
            left_s = began_s + BUDGET_S - time.monotonic()
            if left_s < LEAST_S:
                break
            attempts += 1
            try:
                answer = await _attempt(plane, target, arrival, wallet, min(timeout_s, left_s))
            except _NoAnswer as error:
                why = str(error)
                continue
            reply, why = _usable(plane, answer, target, arrival, wallet), ""
            break
    except (_Unusable, CannotDecrypt) as error:
        why = str(error)
        plane.server_circuits.worked(circuit)
    else:
        (plane.server_circuits.worked if reply else plane.server_circuits.failed)(circuit)
    if reply is None:
        log.warning("call_init.failed", call_id=arrival.call_id, attempts=attempts, why=why)
    plane.counts.asked.labels("answered" if reply else "failed").inc()
    asked_ms = round((time.monotonic() - began_s) * 1000)
    return Asked(reply=reply, why=why[:_WHY_CHARACTERS], asked_ms=asked_ms, attempts=attempts)


def message_id(call_id: CallId) -> str:
    """The ``webhook-id`` of the question about a call."""
    return f"init_{call_id}"


async def _attempt(
    plane: Plane, target: WebhookTarget, arrival: Arrival, wallet: Wallet, timeout_s: float
) -> EgressAnswer:
    at = datetime.now(UTC)
    body = msgspec.json.encode(Question(type=TYPE, timestamp=at, data=arrival))
    secrets = _secrets(plane, arrival, wallet)
    headers = signed_headers(secrets, message_id(arrival.call_id), int(at.timestamp()), body)
    try:
        answer = await plane.egress.request(
            "POST",
            target.url,
            body=body,
            headers={**headers, "Content-Type": "application/json"},
            timeout_s=timeout_s,
            max_bytes=LARGEST_REPLY_BYTES,
        )
    except Refused as error:
        raise _Unusable(str(error)) from error
    except EgressError as error:
        raise _NoAnswer(str(error)) from error
    if answer.status in _PASSING or answer.status >= 500:
        raise _NoAnswer(f"the server answered {answer.status}")
    return answer


def _usable(plane: Plane, answer: EgressAnswer, target: WebhookTarget, arrival: Arrival, wallet: Wallet) -> Reply:
    """The reply, wholly checked. Raises `_Unusable`."""
    if answer.status != 200:
        raise _Unusable(f"the server answered {answer.status}; a reply is a 200")
    try:
        if target.signed_replies:
            verify(_secrets(plane, arrival, wallet), answer.headers, answer.body, time.time())
            if answer.headers["webhook-id"] != message_id(arrival.call_id):
                raise SignatureRefused("it is the reply to another question")
        reply = decoded(answer.body, Reply)
        if reply.config is not None:
            check(plane.vendors, reply.config)
            held = {*plane.config.vendor_keys, *wallet.vendor_keys}
            if missing := missing_keys(plane.vendors, reply.config, held):
                raise _Unusable(f"there is no key for {', '.join(missing)}")
    except SignatureRefused as error:
        raise _Unusable(f"the reply is not signed as it must be: {error}") from error
    except ControlError as error:
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in error.faults)
        raise _Unusable(f"the reply cannot be used: {faults or error}") from error
    return reply


def _secrets(plane: Plane, arrival: Arrival, wallet: Wallet) -> list[str]:
    return [secret.reveal() for secret in signing_secrets(plane.config.key_pepper, arrival.project_id, wallet)]
