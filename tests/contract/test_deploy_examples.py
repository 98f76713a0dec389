"""The example environments say what the planes read."""

from pathlib import Path

import pytest

from turncall_control import __main__ as control
from turncall_media import __main__ as media

EXAMPLES = Path(__file__).parents[2] / "deploy" / "env"


@pytest.mark.parametrize(("plane", "main"), [("control", control.main), ("media", media.main)])
def test_example_is_current(plane: str, main: object, capsys: pytest.CaptureFixture[str]) -> None:
    """`make schema` was run after a config changed."""
    assert callable(main)
    assert main(["env-example"]) == 0
    assert (EXAMPLES / f"{plane}.env.example").read_text() == capsys.readouterr().out
