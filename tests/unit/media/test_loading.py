"""When vendors' code is loaded, and who waits for it."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from turncall_media import loading, registry
from turncall_media.loading import load_for, load_rest, vendors_of
from turncall_proto.agent import AgentSpec, Cascade, Fallbacks, SpeechToSpeech, VendorRef

_SLOW = "import time\ntime.sleep(0.3)\nWARMED = []\ndef warm():\n    WARMED.append(True)\n"


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of providers with one vendor, ``acme``, in place of the real one."""
    import turncall_media.providers as providers

    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(registry, "PROVIDERS", tmp_path)
    monkeypatch.setattr(providers, "__path__", [str(tmp_path)])
    forget_acme()
    yield folder
    forget_acme()


def forget_acme() -> None:
    """Other tests have a vendor of that name in another folder."""
    for name in [name for name in sys.modules if name.startswith("turncall_media.providers.acme")]:
        del sys.modules[name]


def agent_of(vendor: str) -> AgentSpec:
    ref = VendorRef(vendor=vendor)
    return AgentSpec(pipeline=Cascade(stt=ref, llm=ref, tts=ref))


def test_the_loop_turns_while_a_vendor_is_loaded(acme: Path) -> None:
    """Other calls go on, two calls wait for one import, and a later one waits for nothing."""
    (acme / "llm.py").write_text(_SLOW)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def run() -> None:
        counting = asyncio.create_task(count())
        await asyncio.gather(load_for(agent_of("acme")), load_for(agent_of("acme")))
        counting.cancel()
        await load_for(agent_of("acme"))

    asyncio.run(run())
    assert turns >= 5
    assert len(vars(registry.load("llm", "acme"))["WARMED"]) == 3


def test_a_vendor_that_cannot_be_loaded_is_told_when_it_is_built(acme: Path) -> None:
    """A stage may have a fallback, so loading refuses nothing."""
    (acme / "llm.py").write_text("import a_package_that_nobody_has\n")
    asyncio.run(load_for(agent_of("acme")))
    asyncio.run(load_for(agent_of("nobody")))


def test_fallbacks_and_the_voice_that_apologises_are_loaded_too() -> None:
    """Whoever takes over in the middle of a call must not import in the middle of a call."""
    cascade = Cascade(
        stt=VendorRef(vendor="a"),
        llm=VendorRef(vendor="b"),
        tts=VendorRef(vendor="c"),
        fallbacks=Fallbacks(llm=(VendorRef(vendor="d"),)),
    )
    assert set(vendors_of(AgentSpec(pipeline=cascade))) == {("stt", "a"), ("llm", "b"), ("llm", "d"), ("tts", "c")}
    speech = SpeechToSpeech(
        model=VendorRef(vendor="a"), fallbacks=(VendorRef(vendor="b"),), apology_voice=VendorRef(vendor="c")
    )
    assert set(vendors_of(AgentSpec(pipeline=speech))) == {("speech", "a"), ("speech", "b"), ("tts", "c")}


def test_the_rest_is_loaded_when_nobody_is_served(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offers of a vendor that turns out to be broken are refused from then on; a busy worker loads nothing."""
    (acme / "stt.py").write_text("import a_package_that_nobody_has\n")
    (acme / "tts.py").write_text("")
    monkeypatch.setattr(loading, "SETTLED_S", 0.0)
    monkeypatch.setattr(loading, "BUSY_AGAIN_S", 0.01)
    ready = {"stt": {"acme"}, "llm": set(), "tts": {"acme"}}
    asked = 0

    def is_idle() -> bool:
        nonlocal asked
        asked += 1
        if asked < 4:
            assert "turncall_media.providers.acme.stt" not in sys.modules
            assert ready["stt"]
        return asked >= 4

    asyncio.run(load_rest(ready, ("stt", "llm", "tts"), is_idle))
    assert ready == {"stt": set(), "llm": set(), "tts": {"acme"}}
    assert "turncall_media.providers.acme.tts" in sys.modules
