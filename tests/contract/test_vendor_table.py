"""The table of vendors in the media plane's README is what the vendors say of themselves."""

from pathlib import Path

from turncall_media import registry
from turncall_media.vendor_table import HEAD, table
from turncall_testkit.vendors import FAKES

README = Path(__file__).parents[2] / "services" / "media" / "README.md"


def test_readme_holds_the_table_of_vendors() -> None:
    """A new vendor or option is in it; ``python -m turncall_media vendors`` prints the one to put there."""
    read = README.read_text()
    assert table(registry.vendors_schema()) in read
    assert read.count(HEAD) == 1


def test_every_vendor_has_its_row() -> None:
    """The hosted ones that the tests run against fakes, and the local ones."""
    rows = {tuple(line.split(" | ")[:2]) for line in table(registry.vendors_schema()).splitlines()[2:]}
    here = {
        ("whisper", "stt"),
        ("kokoro", "tts"),
        ("piper", "tts"),
        *(("local", kind) for kind in ("stt", "llm", "tts", "speech", "embed", "avatar")),
    }
    assert rows == {(f"| `{vendor}`", kind) for vendor, kind in set(FAKES) | here}
