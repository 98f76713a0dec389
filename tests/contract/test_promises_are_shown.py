"""The README of control says which test shows what: each of them is there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
README = TESTS.parent / "services" / "control" / "README.md"


def test_every_test_that_the_readme_names_exists() -> None:
    """A renamed or deleted test leaves no promise behind that nothing shows."""
    named = re.findall(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`", README.read_text())
    assert len(named) > 30
    functions = {path: _functions(TESTS / path) for path, _ in named}
    assert [f"{path}::{name}" for path, name in named if name not in functions[path]] == []


def _functions(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_bytes()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
