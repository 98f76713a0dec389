"""The rule of who may import whom is held by a machine, and the machine notices a breach."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(sources: Path) -> subprocess.CompletedProcess[str]:
    """Runs the repository's import contracts with the packages below ``sources`` standing in for the checkout's own."""
    return subprocess.run(
        [LINTER, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        env=os.environ | {"PYTHONPATH": str(sources), "COLUMNS": "200"},
        cwd=sources,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("package", "source", "planted", "broken"),
    [
        ("turncall_media", "services/media", "import turncall_control", "Services meet the libraries only from above"),
        ("turncall_media", "services/media", "import sqlalchemy", "Media has no database"),
        ("turncall_control", "services/control", "import pipecat", "Pipecat stays in media"),
        ("turncall_bus", "libs/bus", "import turncall_runtime", "Services meet the libraries only from above"),
    ],
)
def test_planted_import_is_refused(tmp_path: Path, package: str, source: str, planted: str, broken: str) -> None:
    """One forbidden line in one module fails the check and names the contract."""
    shutil.copytree(ROOT / source / "src" / package, tmp_path / package)
    (tmp_path / package / "planted.py").write_text(f'"""A breach."""\n\n{planted}\n')
    outcome = lint(tmp_path)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert f"{broken}" in outcome.stdout
    assert "BROKEN" in outcome.stdout


def test_the_house_as_it_stands_keeps_every_contract(tmp_path: Path) -> None:
    """Without a planted line the same run passes, so the refusals above are not its doing."""
    outcome = lint(tmp_path)
    assert outcome.returncode == 0, outcome.stdout
