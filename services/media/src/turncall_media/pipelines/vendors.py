"""The services of one call's vendors: built from the plan, and what is wrong with those that cannot be."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from msgspec import Struct, ValidationError, convert
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor

from turncall_media import registry
from turncall_media.audio.sound import Sound
from turncall_media.circuits import Circuit
from turncall_media.errors import SecretUnusable, VendorUnusable
from turncall_media.pipelines.consent import expected
from turncall_media.pipelines.redo import Conversing, Hearing, Redo, Speaking, Thinking
from turncall_media.pipelines.succession import Candidate, Succession, model_of
from turncall_media.report.events import Narrator, Stage
from turncall_media.seams import Resources
from turncall_media.stages.avatars import Avatar
from turncall_media.stages.kinds import BuildContext, Capabilities, Kind, VendorModule
from turncall_proto.agent import Cascade, SpeechToSpeech, VendorRef
from turncall_proto.call import CallStart

_REDO: Final[dict[Stage, Callable[[], Redo]]] = {
    "stt": Hearing,
    "llm": Thinking,
    "tts": Speaking,
    "speech": Conversing,
}


class Vendors(Struct, frozen=True, kw_only=True):
    """One Pipecat service for each stage of a cascade, built for one call."""

    stt: FrameProcessor
    llm: FrameProcessor
    tts: FrameProcessor


class Built(Struct, frozen=True, kw_only=True):
    """What became of each stage: a service, or why there is none."""

    services: dict[Stage, FrameProcessor]
    refused: dict[Stage, str]

    @property
    def mind(self) -> FrameProcessor:
        """Who replies, and uses the tools."""
        return self.services["speech" if "speech" in self.services else "llm"]

    def stages(self) -> dict[FrameProcessor, Stage]:
        """Which stage a processor belongs to, those inside a service included."""
        return {part: stage for stage, service in self.services.items() for part in processors(service)}


def build_all(
    plan: CallStart, sound: Sound, resources: Resources, narrator: Narrator, conversation: LLMContext
) -> Built:
    """Builds every stage for a wire of this ``sound``, also when one of them cannot be, and tells who serves it.

    Of a speech pipeline that is the model; the voice for its apology is built too when there is no model.
    """
    services: dict[Stage, FrameProcessor] = {}
    refused: dict[Stage, str] = {}

    def add(stage: Stage, refs: tuple[VendorRef, ...]) -> None:
        try:
            services[stage] = _stage(stage, refs, plan, sound, resources, narrator, conversation)
        except (VendorUnusable, SecretUnusable) as error:
            refused[stage] = str(error)

    match plan.agent.pipeline:
        case Cascade() as cascade:
            for stage, refs in cascade.stages().items():
                add(stage, refs)
        case SpeechToSpeech() as speech:
            add("speech", (speech.model, *speech.fallbacks))
            if refused:
                add("tts", (speech.apology_voice,))
    return Built(services=services, refused=refused)


def build_voice(ref: VendorRef, plan: CallStart, sound: Sound, resources: Resources) -> FrameProcessor:
    """A voice by itself. Raises `VendorUnusable` and `SecretUnusable`."""
    voice: FrameProcessor = _built("tts", ref, plan, sound, resources, None)
    return voice


def build_avatar(ref: VendorRef, plan: CallStart, sound: Sound, resources: Resources) -> Avatar:
    """The agent's face. Raises `VendorUnusable` and `SecretUnusable`."""
    avatar: Avatar = _built("avatar", ref, plan, sound, resources, None)
    return avatar


def _stage(
    stage: Stage,
    refs: tuple[VendorRef, ...],
    plan: CallStart,
    sound: Sound,
    resources: Resources,
    narrator: Narrator,
    conversation: LLMContext,
) -> FrameProcessor:
    """One vendor costs nothing but itself; with fallbacks there is one more processor, which has no task."""
    if len(refs) > 1:
        candidates = [
            Candidate(
                vendor=ref.vendor,
                circuit=_circuit(stage, ref),
                build=partial(_built, stage, ref, plan, sound, resources, conversation),
            )
            for ref in refs
        ]
        return Succession(stage, candidates, resources.circuits, _REDO[stage](), narrator)
    try:
        service: FrameProcessor = _built(stage, refs[0], plan, sound, resources, conversation)
    except (VendorUnusable, SecretUnusable):
        narrator.serves(stage, refs[0].vendor, "")
        raise
    narrator.serves(stage, refs[0].vendor, model_of(service))
    return service


def _circuit(kind: Stage, ref: VendorRef) -> Circuit:
    """A server that users name fails for itself, not for the vendor."""
    try:
        named = registry.load(kind, ref.vendor).CAPABILITIES.secret_optional_with
    except VendorUnusable:  # told when it is built
        named = ()
    return kind, ref.vendor, tuple(str(ref.options.get(name, "")) for name in named)


def processors(processor: FrameProcessor) -> list[FrameProcessor]:
    """A processor and all that are inside it."""
    return [processor, *(part for inner in processor.processors for part in processors(inner))]


class Sealed(Protocol):
    """A plan that holds vendors' keys: of a call, of a job."""

    @property
    def secrets(self) -> Mapping[str, str]: ...

    @property
    def own_vendors(self) -> tuple[str, ...]: ...


def key_for(ref: VendorRef, capabilities: Capabilities, plan: Sealed, open_secret: Callable[[str], str]) -> str | None:
    """The key for this stage; None without one, and for the installation's when the agent names a server of its own.

    Who owns that server would learn the key, and any developer of any project may name one. The project's own key goes
    wherever the project says.
    """
    is_elsewhere = any(ref.options.get(name) for name in capabilities.secret_optional_with)
    if ref.vendor not in plan.secrets or (is_elsewhere and ref.vendor not in plan.own_vendors):
        return None
    return open_secret(plan.secrets[ref.vendor])


def _built(
    kind: Kind,
    ref: VendorRef,
    plan: CallStart,
    sound: Sound,
    resources: Resources,
    conversation: LLMContext | None,
) -> Any:
    module = registry.load(kind, ref.vendor)
    context = BuildContext(
        rate_hz=sound.rate_hz,
        language=plan.agent.language,
        secret=key_for(ref, module.CAPABILITIES, plan, resources.open_secret),
        expected_phrases=(*_expected_phrases(plan), *_consent_phrases(plan)) if kind in ("stt", "speech") else (),
        keyterms=plan.agent.keyterms,
        egress_allow=resources.egress_allow,
        conversation=conversation if kind == "speech" else None,
        models_dir=resources.models_dir,
    )
    return module.build(options_of(module, kind, ref), context)


def _expected_phrases(plan: CallStart) -> tuple[str, ...]:
    """What callers are likely to say, by the agent's model; nothing when that is unusable, which it says itself."""
    if not isinstance(plan.agent.pipeline, Cascade):
        return ()
    ref = plan.agent.pipeline.llm
    try:
        module = registry.load("llm", ref.vendor)
        expects = getattr(module, "expects", None)
        return () if expects is None else tuple(expects(options_of(module, "llm", ref)))
    except VendorUnusable:
        return ()


def _consent_phrases(plan: CallStart) -> tuple[str, ...]:
    return expected(plan.agent.language) if plan.agent.recording == "on_consent" else ()


def options_of(module: VendorModule, kind: Kind, ref: VendorRef) -> Any:
    """The vendor's own options as its struct. Raises `VendorUnusable`."""
    try:
        return convert(ref.options, module.Options)
    except ValidationError as error:
        raise VendorUnusable(f"{ref.vendor} refuses its options as {kind}: {error}") from error
