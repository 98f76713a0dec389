"""The contract as documents for other languages and reviewers: JSON Schema of the facts, AsyncAPI of the channels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from turncall_proto import arrival, command, events, job, knowledge, live, placement, subjects, webrtc
from turncall_proto.call import CallStart, Claim

SCHEMA_FOLDER: Final = Path(__file__).parent / "schema"
_IN_SCHEMA: Final = "#/components/schemas/{name}"


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One address on the bus: what travels there, what is answered, who keeps it (None: nobody, core NATS)."""

    address: str
    messages: tuple[type[msgspec.Struct], ...]
    summary: str
    reply: type[msgspec.Struct] | None = None
    stream: str | None = None


def _tag(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag or kind.__name__)


def event_kinds() -> tuple[type[events.CallEvent], ...]:
    """Every fact of the contract, in the order of `turncall_proto.events.Event`."""
    return events.Event.__args__


def channels() -> Mapping[str, Channel]:
    """Every channel by name; the order is the order of a call."""
    root = subjects.ROOT
    return {
        "beats": Channel(
            address=f"{root}.beat.{{pool}}.{{worker}}", messages=(placement.WorkerBeat,), summary="A worker lives."
        ),
        "offers": Channel(
            address=f"{root}.offer.{{worker}}",
            messages=(placement.CallOffer,),
            reply=placement.OfferReply,
            summary="Control asks one worker to reserve a slot.",
        ),
        "browsers": Channel(
            address=f"{root}.sdp.{{worker}}",
            messages=(
                webrtc.SdpOffered,
                webrtc.CandidatesTold,
                webrtc.SdpWanted,
                webrtc.SdpAnswered,
                webrtc.SoundAccepted,
                webrtc.SoundOver,
            ),
            reply=webrtc.SdpReply,
            summary="A browser's or WhatsApp's offer of sound, and what becomes of it, for the worker with its slot.",
        ),
        "starts": Channel(
            address=f"{root}.call.{{project}}.{{call}}.start",
            messages=(CallStart,),
            stream=subjects.TC_CALLS.name,
            summary="The whole plan of one epoch.",
        ),
        "claims": Channel(
            address=f"{root}.call.{{project}}.{{call}}.claim",
            messages=(Claim,),
            stream=subjects.TC_CALLS.name,
            summary="A worker serves this epoch; the first one wins.",
        ),
        "facts": Channel(
            address=f"{root}.call.{{project}}.{{call}}.event",
            messages=event_kinds(),
            stream=subjects.TC_CALLS.name,
            summary="What happened, numbered (epoch, seq) without gaps.",
        ),
        "news": Channel(
            address=f"{root}.live.{{project}}.{{call}}",
            messages=(live.TranscriptPartial, live.TextDelta),
            summary="What is being said this moment; lossy.",
        ),
        "commands": Channel(
            address=f"{root}.cmd.{{call}}",
            messages=command.AnyCommand.__args__,
            reply=command.CommandReply,
            summary="Control tells the owner of a live call what to do.",
        ),
        "drains": Channel(
            address=f"{root}.worker.{{worker}}",
            messages=(command.DrainWorker,),
            reply=command.CommandReply,
            summary="An operator has a worker finish its calls and end.",
        ),
        "hang_ups": Channel(
            address=f"{root}.act.hang_up",
            messages=(command.HangUpAsked,),
            reply=command.ActReply,
            summary="A worker asks control to end a call at the carrier.",
        ),
        "handoffs": Channel(
            address=f"{root}.act.handoff",
            messages=(command.HandoffAsked,),
            reply=command.HandoffReply,
            summary="A worker asks for the plan with which another agent goes on.",
        ),
        "transfers": Channel(
            address=f"{root}.act.transfer",
            messages=(command.TransferAsked,),
            reply=command.ActReply,
            summary="A worker asks control to connect the caller to a person.",
        ),
        "links": Channel(
            address=f"{root}.act.link",
            messages=(command.LinkAsked,),
            reply=command.ActReply,
            summary="A worker asks control to send the contact a link to the session.",
        ),
        "opt_outs": Channel(
            address=f"{root}.act.opt_out",
            messages=(command.OptOutAsked,),
            reply=command.ActReply,
            summary="A worker tells control that a person does not want to be called any more.",
        ),
        "settlements": Channel(
            address=f"{root}.act.settlement",
            messages=(command.SettlementAsked,),
            reply=command.SettlementAnswered,
            summary="A worker asks which of its facts are safe.",
        ),
        "searches": Channel(
            address=f"{root}.act.knowledge",
            messages=(knowledge.KnowledgeAsked, knowledge.KnowledgeWanted),
            reply=knowledge.KnowledgeAnswered,
            summary="A worker asks what is known.",
        ),
        "questions": Channel(
            address=subjects.EMBED,
            messages=(knowledge.EmbedAsked,),
            reply=knowledge.EmbedAnswered,
            summary="Control has the pool text make vectors of questions.",
        ),
        "jobs": Channel(
            address=f"{root}.job.{{kind}}",
            messages=(*job.ALL_JOBS, job.Parcel),
            stream=subjects.TC_JOBS.name,
            summary="Control has the pool text do something that nobody waits for on the line.",
        ),
        "arrivals": Channel(
            address=subjects.ARRIVALS,
            messages=(arrival.TextArrived,),
            stream=subjects.TC_JOBS.name,
            summary="A contact wrote to a number of ours; control keeps it for itself.",
        ),
        "answers": Channel(
            address=f"{root}.job.{{kind}}.answer",
            messages=job.ALL_ANSWERS,
            stream=subjects.TC_JOBS.name,
            summary="What became of a job.",
        ),
    }


def _components(kinds: Sequence[type]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(kinds, ref_template=_IN_SCHEMA)
    return dict(sorted(components.items()))


def events_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one fact: ``oneOf`` over the tags."""
    kinds = event_kinds()
    (schemas, components) = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fact about a call",
        "oneOf": list(schemas),
        "x-internal": sorted(events.INTERNAL_TAGS),
        "$defs": dict(sorted(components.items())),
    }


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 of everything that the two planes exchange."""
    every = channels()
    kinds = {kind for channel in every.values() for kind in (*channel.messages, channel.reply) if kind}
    names = {kind: kind.__name__ for kind in kinds}
    operations: dict[str, Any] = {}
    described: dict[str, Any] = {}
    for name, channel in every.items():
        described[name] = {
            "address": channel.address,
            "description": channel.summary,
            "messages": {
                names[kind]: {"$ref": f"#/components/messages/{names[kind]}"}
                for kind in (*channel.messages, *([channel.reply] if channel.reply else []))
            },
            **({"x-stream": channel.stream} if channel.stream else {}),
        }
        operations[name] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{names[kind]}"} for kind in channel.messages],
        }
        if channel.reply:
            operations[name]["reply"] = {
                "messages": [{"$ref": f"#/channels/{name}/messages/{names[channel.reply]}"}],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "TurnCall, between the planes", "version": "1"},
        "defaultContentType": "application/json",
        "channels": described,
        "operations": operations,
        "components": {
            "messages": {
                names[kind]: {"name": _tag(kind), "payload": {"$ref": _IN_SCHEMA.format(name=names[kind])}}
                for kind in sorted(kinds, key=lambda kind: names[kind])
            },
            "schemas": _components(sorted(kinds, key=lambda kind: names[kind])),
        },
    }


def written(document: Mapping[str, Any]) -> str:
    """A schema document as it lies in the repository: indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def documents() -> Mapping[str, str]:
    """File name to content, for everything that this package publishes."""
    return {"events.json": written(events_schema()), "asyncapi.json": written(asyncapi())}
