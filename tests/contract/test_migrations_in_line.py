"""The migrations form one line: two branches that each added the next number are noticed where they meet."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from turncall_control import migrations

VERSIONS = Path(migrations.__file__).parent / "versions"


def test_every_migration_follows_the_one_before_it() -> None:
    """Each file's number is its revision, each revision has one file, and its predecessor is the number before."""
    found: list[tuple[str, str, str | None]] = []
    for path in sorted(VERSIONS.glob("v*.py")):
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append((path.stem[1:5], module.revision, module.down_revision))
    numbers = [f"{number:04}" for number in range(1, len(found) + 1)]
    assert found == list(zip(numbers, numbers, [None, *numbers[:-1]], strict=True))
