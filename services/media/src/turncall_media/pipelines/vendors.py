"""The services of one call's vendors: built from the plan, and what is wrong with those that cannot be."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, ValidationError, convert
from pipecat.processors.frame_processor import FrameProcessor

from turncall_media import registry
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.kinds import BuildContext, Capabilities, Kind, VendorModule
from turncall_media.report.events import Stage, Usage
from turncall_media.seams import Resources
from turncall_media.sound import RATE_HZ
from turncall_proto.agent import VendorRef
from turncall_proto.call import CallStart


class Vendors(Struct, frozen=True, kw_only=True):
    """One Pipecat service for each stage, built for one call."""

    stt: FrameProcessor
    llm: FrameProcessor
    tts: FrameProcessor

    def stages(self) -> dict[FrameProcessor, Stage]:
        """Which stage a processor belongs to, those inside a service included."""
        services: tuple[tuple[Stage, FrameProcessor], ...] = (("stt", self.stt), ("llm", self.llm), ("tts", self.tts))
        return {part: stage for stage, service in services for part in processors(service)}


class Built(Struct, frozen=True, kw_only=True):
    """What became of each stage: a service, or why there is none."""

    services: dict[Stage, FrameProcessor]
    refused: dict[Stage, str]

    @property
    def vendors(self) -> Vendors | None:
        """All of them, if all could be built."""
        return None if self.refused else Vendors(**self.services)


def build_all(plan: CallStart, resources: Resources) -> Built:
    """Builds every stage, also when one of them cannot be."""
    services: dict[Stage, FrameProcessor] = {}
    refused: dict[Stage, str] = {}
    for stage, ref in named(plan).items():
        try:
            services[stage] = _built(stage, ref, plan, resources)
        except (VendorUnusable, SecretUnusable) as error:
            refused[stage] = str(error)
    return Built(services=services, refused=refused)


def named(plan: CallStart) -> dict[Stage, VendorRef]:
    """The vendors that the agent names."""
    pipeline = plan.agent.pipeline
    return {"stt": pipeline.stt, "llm": pipeline.llm, "tts": pipeline.tts}


def usage(plan: CallStart, built: Built) -> dict[Stage, Usage]:
    """What each vendor did so far: nothing."""
    return {stage: Usage(ref.vendor, _model(built.services.get(stage))) for stage, ref in named(plan).items()}


def processors(processor: FrameProcessor) -> list[FrameProcessor]:
    """A processor and all that are inside it."""
    return [processor, *(part for inner in processor.processors for part in processors(inner))]


def key_for(
    ref: VendorRef, capabilities: Capabilities, plan: CallStart, open_secret: Callable[[str], str]
) -> str | None:
    """The key for this stage; None without one, and for the installation's when the agent names a server of its own.

    Who owns that server would learn the key, and any developer of any project may name one. The project's own key goes
    wherever the project says.
    """
    is_elsewhere = any(ref.options.get(name) for name in capabilities.secret_optional_with)
    if ref.vendor not in plan.secrets or (is_elsewhere and ref.vendor not in plan.own_vendors):
        return None
    return open_secret(plan.secrets[ref.vendor])


def _built(kind: Kind, ref: VendorRef, plan: CallStart, resources: Resources) -> FrameProcessor:
    module = registry.load(kind, ref.vendor)
    context = BuildContext(
        rate_hz=RATE_HZ,
        language=plan.agent.language,
        secret=key_for(ref, module.CAPABILITIES, plan, resources.open_secret),
        expected_phrases=_expected_phrases(plan) if kind == "stt" else (),
        egress_allow=resources.egress_allow,
    )
    return module.build(_options(module, kind, ref), context)


def _expected_phrases(plan: CallStart) -> tuple[str, ...]:
    """What callers are likely to say, by the agent's model; nothing when that is unusable, which it says itself."""
    ref = plan.agent.pipeline.llm
    try:
        module = registry.load("llm", ref.vendor)
        expects = getattr(module, "expects", None)
        return () if expects is None else tuple(expects(_options(module, "llm", ref)))
    except VendorUnusable:
        return ()


def _options(module: VendorModule, kind: Kind, ref: VendorRef) -> Any:
    try:
        return convert(ref.options, module.Options)
    except ValidationError as error:
        raise VendorUnusable(f"{ref.vendor} refuses its options as {kind}: {error}") from error


def _model(service: FrameProcessor | None) -> str:
    model = getattr(getattr(service, "settings", None), "model", None)
    return model if isinstance(model, str) else ""
