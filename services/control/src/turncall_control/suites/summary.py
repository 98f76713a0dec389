"""What trials add up to: outcomes, flakes, and two runs side by side. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from turncall_control.suites.model import TrialState
from turncall_control.suites.schemas import Outcome, ScenarioChange, ScenarioResult
from turncall_proto.job import ModelUse


class Tried(Struct, frozen=True, kw_only=True):
    """What is needed of a trial to add it up."""

    scenario: str
    state: TrialState
    used: Sequence[Mapping[str, Any]]


def results(trials: Sequence[Tried]) -> tuple[ScenarioResult, ...]:
    """One for each scenario, in the order of the trials."""
    return tuple(
        _result(name, [trial.state for trial in trials if trial.scenario == name])
        for name in dict.fromkeys(trial.scenario for trial in trials)
    )


def _result(scenario: str, states: Sequence[TrialState]) -> ScenarioResult:
    passed, failed = states.count(TrialState.PASSED), states.count(TrialState.FAILED)
    errors = states.count(TrialState.ERROR)
    decided = passed + failed
    is_pending = len(states) > decided + errors + states.count(TrialState.CANCELED)
    outcome: Outcome
    if failed:
        outcome = "failed"
    elif errors:
        outcome = "error"
    elif is_pending:
        outcome = "pending"
    else:
        outcome = "canceled" if passed < len(states) else "passed"
    return ScenarioResult(
        scenario=scenario,
        outcome=outcome,
        passed=passed,
        failed=failed,
        errors=errors,
        flake_rate=round(min(passed, failed) / decided, 4) if decided else None,
    )


def outcome_of(found: Sequence[ScenarioResult]) -> Outcome:
    """That of a whole run: the worst of its scenarios'."""
    outcomes = {result.outcome for result in found}
    order: tuple[Outcome, ...] = ("failed", "error", "pending", "canceled", "passed")
    return next(outcome for outcome in order if outcome in outcomes)


def used(trials: Sequence[Tried]) -> tuple[ModelUse, ...]:
    """What all of them took of each model."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for trial in trials:
        for use in msgspec.convert(list(trial.used), tuple[ModelUse, ...]):
            read, wrote = sums.get((use.vendor, use.model), (0, 0))
            sums[use.vendor, use.model] = (read + use.input_tokens, wrote + use.output_tokens)
    return tuple(
        ModelUse(vendor=vendor, model=model, input_tokens=read, output_tokens=wrote)
        for (vendor, model), (read, wrote) in sums.items()
    )


def compared(before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> tuple[ScenarioChange, ...]:
    """Each scenario of either run; those of the later one first."""
    old, new = ({result.scenario: result for result in side} for side in (before, after))
    return tuple(_change(name, old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old]))


def _change(scenario: str, before: ScenarioResult | None, after: ScenarioResult | None) -> ScenarioChange:
    rates = [None if result is None else _rate(result) for result in (before, after)]
    return ScenarioChange(scenario=scenario, change=_word(before, after, *rates), before=rates[0], after=rates[1])


def _word(before: ScenarioResult | None, after: ScenarioResult | None, was: float | None, now: float | None) -> Any:
    if before is None or after is None:
        return "added" if before is None else "removed"
    if was is None or now is None:
        return "unknown"
    if was == now:
        return "same"
    if now > was:
        return "fixed" if now == 1 else "better"
    return "broken" if was == 1 else "worse"


def _rate(result: ScenarioResult) -> float | None:
    decided = result.passed + result.failed
    return round(result.passed / decided, 4) if decided else None
