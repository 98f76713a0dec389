"""What Deepgram's vendors take as options: the struct and the published schema agree."""

from typing import Any

import jsonschema
import msgspec
import pytest

from turncall_media import registry
from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import BuildContext, Kind


@pytest.mark.parametrize(
    ("kind", "options", "is_taken"),
    [
        ("stt", {}, True),
        ("stt", {"keyterms": ["Ána"]}, True),
        ("stt", {"keyterms": ["Ána"], "model": "nova-3-medical"}, True),
        ("stt", {"keyterms": ["Ána"], "model": "nova-2"}, False),
        ("stt", {"keyterms": [], "model": "nova-2"}, True),
        ("stt", {"model": "nova-3&callback=http://elsewhere"}, False),
        ("stt", {"language": "en"}, False),
        ("tts", {}, True),
        ("tts", {"voice": "aura-2-thalia-en", "speed": 1.2}, True),
        ("tts", {"voice": "aura&encoding=mp3"}, False),
        ("tts", {"speed": 3}, False),
        ("tts", {"base_url": "https://deepgram.example"}, True),
        ("tts", {"base_url": "wss://deepgram.example"}, False),
    ],
)
def test_options(kind: Kind, options: dict[str, Any], is_taken: bool) -> None:
    """Nothing that the server would refuse, or that would change another parameter of its URL, is taken."""
    schema = registry.vendors_schema()[kind]["deepgram"]["options"]
    assert jsonschema.Draft202012Validator(schema).is_valid(options) is is_taken
    try:
        msgspec.convert(options, registry.load(kind, "deepgram").Options)
        by_struct = True
    except msgspec.ValidationError:
        by_struct = False
    assert by_struct is is_taken


@pytest.mark.parametrize("kind", ["stt", "tts"])
@pytest.mark.parametrize("url", ["http://me:pw@deepgram.example", "http://0x7f.1", "http://deepgram.example:25"])
def test_a_url_in_disguise_is_refused_before_the_call(kind: Kind, url: str) -> None:
    """What the wall says about a URL's form needs no connection."""
    module = registry.load(kind, "deepgram")
    options = msgspec.convert({"base_url": url}, module.Options)
    with pytest.raises(VendorUnusable, match="base_url"):
        module.build(options, BuildContext(rate_hz=8000, language="en"))
