"""What OpenAI's vendors take as options: the struct and the published schema agree."""

from typing import Any

import jsonschema
import msgspec
import pytest

from turncall_media import registry
from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import BuildContext, Kind

OWN: dict[str, Any] = {"base_url": "http://127.0.0.1:11434/v1", "model": "llama3.2"}
CONTEXT = BuildContext(rate_hz=8000, language="en-US", secret="key")


def takes(kind: Kind, options: dict[str, Any]) -> bool:
    """Whether both the struct and the schema take these options; they must not differ."""
    schema = registry.vendors_schema()[kind]["openai"]["options"]
    by_schema = jsonschema.Draft202012Validator(schema).is_valid(options)
    try:
        msgspec.convert(options, registry.load(kind, "openai").Options)
        by_struct = True
    except msgspec.ValidationError:
        by_struct = False
    assert by_schema == by_struct
    return by_struct


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
@pytest.mark.parametrize(
    ("options", "is_taken"),
    [
        ({}, True),
        ({"model": "m"}, True),
        (OWN, True),
        ({**OWN, "timeout_ms": 60_000}, True),
        ({"base_url": ""}, True),
        ({"base_url": "http://127.0.0.1:11434/v1"}, False),
        ({"base_url": "http://127.0.0.1:11434/v1", "model": ""}, False),
        ({**OWN, "base_url": "ftp://127.0.0.1"}, False),
        ({"timeout_ms": 1}, False),
        ({"api_key": "k"}, False),
    ],
)
def test_common_options(kind: Kind, options: dict[str, Any], is_taken: bool) -> None:
    """Every option has a default, but a server of one's own must have its model named; no key may stand in options."""
    assert takes(kind, options) is is_taken


def test_own_server_has_its_own_voices() -> None:
    """OpenAI's voices are known; elsewhere any name may be one."""
    assert takes("tts", {"voice": "coral"})
    assert not takes("tts", {"voice": "af_heart"})
    assert takes("tts", {**OWN, "voice": "af_heart"})


@pytest.mark.parametrize(("options", "name"), [({}, "max_completion_tokens"), (OWN, "max_tokens")])
def test_longest_reply_goes_under_the_name_that_is_understood(options: dict[str, Any], name: str) -> None:
    """OpenAI's newer models refuse the older name, which is all that other servers know."""
    module = registry.load("llm", "openai")
    service: Any = module.build(msgspec.convert({**options, "max_tokens": 80}, module.Options), CONTEXT)
    sent = service.build_chat_completion_params({"messages": []})
    assert sent[name] == 80
    assert sent["model"] == options.get("model", "gpt-4.1")


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
def test_openai_itself_is_not_used_without_a_key(kind: Kind) -> None:
    """It is said before the call that a key is missing."""
    module = registry.load(kind, "openai")
    with pytest.raises(VendorUnusable, match="needs a key"):
        module.build(module.Options(), msgspec.structs.replace(CONTEXT, secret=None))
