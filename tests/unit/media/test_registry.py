"""Vendors found on disk."""

import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest

from turncall_media import registry
from turncall_media.errors import VendorUnusable


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of providers with one vendor, ``acme``, in place of the real one."""
    import turncall_media.providers as providers

    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(registry, "PROVIDERS", tmp_path)
    monkeypatch.setattr(providers, "__path__", [str(tmp_path)])
    for name in [name for name in sys.modules if name.startswith("turncall_media.providers.acme")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def forget_acme() -> None:
    for name in [name for name in sys.modules if name.startswith("turncall_media.providers.acme")]:
        del sys.modules[name]


def test_a_file_on_disk_is_a_vendor(acme: Path) -> None:
    """Adding a file adds a capability; nothing else is edited, and what helps beside it is no capability."""
    (acme / "tts.py").write_text("NAME = 'acme'\n")
    (acme / "server.py").touch()
    try:
        assert registry.catalogue() == {"stt": (), "llm": (), "tts": ("acme",), "speech": (), "embed": (), "avatar": ()}
        assert vars(registry.load("tts", "acme"))["NAME"] == "acme"
    finally:
        forget_acme()


def test_a_missing_package_names_the_extra(acme: Path) -> None:
    """The operator reads what to install."""
    (acme / "stt.py").write_text("import a_package_that_nobody_has\n")
    with pytest.raises(VendorUnusable, match=r"turncall-media\[acme\].*a_package_that_nobody_has"):
        registry.load("stt", "acme")


def test_our_own_broken_import_is_not_blamed_on_an_extra(acme: Path) -> None:
    """A defect of this package rises as it is."""
    (acme / "stt.py").write_text("import turncall_media.nothing_here\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_here"):
        registry.load("stt", "acme")


@pytest.mark.parametrize("vendor", ["nobody", "..", "../media", ""])
def test_an_unknown_vendor_says_which_there_are(vendor: str) -> None:
    """Names come from users: only what lies on disk is ever imported."""
    with pytest.raises(VendorUnusable, match=r"there are .*local"):
        registry.load("llm", vendor)


def test_warming_loads_what_calls_share(acme: Path) -> None:
    """Models and certificates are there before the first call of a vendor; who has nothing to share needs no `warm`."""
    (acme / "tts.py").write_text("WARMED = []\ndef warm():\n    WARMED.append(True)\n")
    (acme / "stt.py").touch()
    try:
        registry.warm("stt", "acme")
        registry.warm("tts", "acme")
        assert vars(registry.load("tts", "acme"))["WARMED"] == [True]
    finally:
        forget_acme()


def test_what_is_installed_is_known_by_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """One missing package of an extra is a missing vendor; a vendor without an extra is always there."""
    known = registry.distribution

    def without_genai(name: str) -> Distribution:
        if name == "google-genai":
            raise PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(registry, "distribution", without_genai)
    installed = registry.installed()
    assert "google" not in installed["llm"]
    assert {"openai", "groq", "anthropic"} <= set(installed["llm"])


def test_a_worker_starts_without_any_vendors_sdk() -> None:
    """Each costs a second and tens of megabytes: what is installed is known, and rehearsed, without them."""
    start = (
        "import sys; from turncall_media import __main__ as media, registry;"
        "ready = registry.installed(); assert 'anthropic' in ready['llm'] and media.rehearsal(ready);"
        "print(sorted({'anthropic', 'openai', 'google.genai'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", start], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
