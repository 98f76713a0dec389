"""What the doctor says of a project's numbers."""

from types import SimpleNamespace
from typing import Any

import pytest

from turncall import doctor
from turncall.client.shapes import Finding, NumberCheck, Page
from turncall_proto.ids import NumberId

WELL = Finding(check="voice_url", is_ok=True, found="https://a.example", expected="https://a.example", what_to_do="")
MOVED = Finding(check="status_url", is_ok=False, found="", expected="https://a.example", what_to_do="configure it")


class Api:
    """A project whose numbers are on pages of one each."""

    def __init__(self, *checks: tuple[Finding, ...]) -> None:
        self.checks = checks

    async def numbers(self, *, cursor: str | None = None) -> Page[Any]:
        index = int(cursor or 0)
        items = tuple(SimpleNamespace(id=NumberId(f"num_{n}"), e164=f"+1{n}") for n in range(len(self.checks)))
        more = str(index + 1) if index + 1 < len(items) else None
        return Page(items=items[index : index + 1], next_cursor=more)

    async def check_number(self, number_id: NumberId) -> NumberCheck:
        findings = self.checks[int(number_id.removeprefix("num_"))]
        is_ok = all(finding.is_ok for finding in findings)
        return NumberCheck(number_id=number_id, e164="+1", is_ok=is_ok, findings=findings)


@pytest.mark.parametrize(
    ("checks", "code", "last"),
    [
        (((WELL,),), 0, "1 number, 0 faults"),
        (((WELL,), (WELL, MOVED)), 1, "2 numbers, 1 fault"),
        ((), 0, "no number is bound: POST /v1/numbers"),
    ],
)
async def test_a_fault_of_any_number_is_told_and_fails(checks: Any, code: int, last: str) -> None:
    """Every page is looked at; each fault has its line with what to do."""
    lines: list[str] = []
    api: Any = Api(*checks)
    assert await doctor.examined(api, lines.append) == code
    assert lines[-1] == last
    assert any("configure it" in line for line in lines) is bool(code)
