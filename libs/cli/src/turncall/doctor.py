"""``turncall doctor``: whether each number of a project would work if it were called."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from turncall.client import TurnCall
from turncall.client.shapes import Finding, NumberView

WELL: Final = 0
ILL: Final = 1


async def examined(api: TurnCall, tell: Callable[[str], None]) -> int:
    """Tells of each number what was found and what to do; `WELL` when all of them would work, else `ILL`."""
    faults = count = 0
    async for number in _numbers(api):
        checked = await api.check_number(number.id)
        count += 1
        tell(f"{number.e164}  {'would work' if checked.is_ok else 'would not work'}")
        for finding in checked.findings:
            tell(described(finding))
            faults += not finding.is_ok
    if not count:
        tell("no number is bound: POST /v1/numbers")
    else:
        tell(f"{count} {'number' if count == 1 else 'numbers'}, {faults} {'fault' if faults == 1 else 'faults'}")
    return ILL if faults else WELL


def described(finding: Finding) -> str:
    """One line of the report."""
    if finding.is_ok:
        return f"  ok     {finding.check}: {finding.found}"
    return f"  FAULT  {finding.check}: {finding.found}; expected {finding.expected}; {finding.what_to_do}"


async def _numbers(api: TurnCall) -> AsyncIterator[NumberView]:
    cursor = None
    while True:
        page = await api.numbers(cursor=cursor)
        for number in page.items:
            yield number
        cursor = page.next_cursor
        if cursor is None:
            return
