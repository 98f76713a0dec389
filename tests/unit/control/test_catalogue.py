"""The published vendors: read, and used to refuse what the media plane would refuse."""

import pytest
from msgspec.structs import replace

from turncall_control.vendors import catalogue
from turncall_proto.agent import AgentSpec, Cascade, Fallbacks, SpeechToSpeech, VendorRef

LOCAL = VendorRef(vendor="local")
SCRIPT = {"intents": [{"name": "hours", "hears": ["when are you open"], "says": "From nine to five."}]}
SCRIPTED = VendorRef(vendor="local", options={"script": SCRIPT})
STAGES = ("stt", "llm", "tts", "speech")
"""The kinds that an agent names in its pipeline. A knowledge base names its embedder."""
PLACES = {"speech": "model"}
"""Where a pipeline has a kind of vendor, if not under its name."""
SPEC = AgentSpec(pipeline=Cascade(stt=LOCAL, llm=SCRIPTED, tts=LOCAL))


def with_stage(kind: str, ref: VendorRef) -> AgentSpec:
    """An agent with one stage replaced."""
    if kind == "speech":
        return replace(SPEC, pipeline=SpeechToSpeech(model=ref))
    return replace(SPEC, pipeline=replace(SPEC.pipeline, **{kind: ref}))


def test_keyless_vendors_need_no_key():
    """An agent of local vendors is valid and lacks nothing."""
    vendors = catalogue.packaged()
    assert list(catalogue.faults(vendors, SPEC, "config")) == []
    assert catalogue.missing_keys(vendors, SPEC, ()) == []


def test_fault_deep_inside_options_is_named_by_its_path():
    """The path leads through the vendor's own lists."""
    bad = {"script": {"intents": [SCRIPT["intents"][0], {"name": "Bad Name", "hears": [], "says": "x"}]}}
    spec = with_stage("llm", VendorRef(vendor="local", options=bad))
    fields = {fault.field for fault in catalogue.faults(catalogue.packaged(), spec, "config")}
    at = "config.pipeline.llm.options.script.intents[1]"
    assert fields == {f"{at}.name", f"{at}.hears"}


def test_every_published_vendor_says_whether_it_needs_a_key():
    """A vendor with a key is missing until the key is held."""
    vendors = catalogue.packaged()
    for kind in STAGES:
        for name, vendor in vendors[kind].items():
            spec = with_stage(kind, VendorRef(vendor=name))
            missing = catalogue.missing_keys(vendors, spec, ())
            assert missing == ([name] if vendor.capabilities.needs_secret else [])
            assert catalogue.missing_keys(vendors, spec, [name]) == []


def test_server_of_the_users_own_may_need_no_key():
    """A vendor reached under a base URL of the user's is published without the vendor's key."""
    vendors = catalogue.packaged()
    own = {"base_url": "https://models.example.com/v1", "model": "any"}
    assert catalogue.missing_keys(vendors, with_stage("llm", VendorRef(vendor="openai", options=own)), ()) == []
    assert catalogue.missing_keys(vendors, with_stage("llm", VendorRef(vendor="openai")), ()) == ["openai"]


def test_every_published_vendor_refuses_unknown_options():
    """A misspelt option is a fault of every vendor, under its own name."""
    vendors = catalogue.packaged()
    for kind in STAGES:
        for name in vendors[kind]:
            spec = with_stage(kind, VendorRef(vendor=name, options={"surprise": 1}))
            fields = [fault.field for fault in catalogue.faults(vendors, spec, "config")]
            assert f"config.pipeline.{PLACES.get(kind, kind)}.options.surprise" in fields


@pytest.mark.parametrize("kind", STAGES)
def test_unknown_vendor_is_a_fault_that_lists_the_known_ones(kind):
    """The message helps to spell it right."""
    (fault,) = catalogue.faults(catalogue.packaged(), with_stage(kind, VendorRef(vendor="nobody")), "config")
    assert fault.field == f"config.pipeline.{PLACES.get(kind, kind)}.vendor"
    assert "local" in fault.message


def test_fallbacks_are_checked_like_the_vendors_that_they_replace():
    """Their faults are named by their place, and their keys are needed too."""
    refs = (VendorRef(vendor="openai"), VendorRef(vendor="nobody"), VendorRef(vendor="local", options={"surprise": 1}))
    spec = replace(SPEC, pipeline=replace(SPEC.pipeline, fallbacks=Fallbacks(tts=refs)))
    vendors = catalogue.packaged()
    at = "config.pipeline.fallbacks.tts"
    assert {fault.field for fault in catalogue.faults(vendors, spec, "config")} == {
        f"{at}[1].vendor",
        f"{at}[2].options.surprise",
    }
    assert catalogue.missing_keys(vendors, spec, ()) == ["openai"]
