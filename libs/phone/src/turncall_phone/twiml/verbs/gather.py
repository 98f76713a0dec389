"""<Gather>: keys are collected while the prompts inside are heard, and for a while after."""

import asyncio
from contextlib import suppress

from turncall_phone.calls import Instruction
from turncall_phone.playout import RATE_HZ
from turncall_phone.twiml.grammar import METHODS, Element, Grammar
from turncall_phone.twiml.leg import Flow, Leg, Step, Verb
from turncall_phone.twiml.verbs import pause, play, say

_PROMPTS = {"Say": say.VERB, "Play": play.VERB, "Pause": pause.VERB}


async def run(verb: Element, leg: Leg) -> Step:
    """Ask `action` with the digits, or go on with the next verb when no key was pressed in time.

    The first key silences the prompts. Digits are complete by number, by `finishOnKey`, or `timeout` after the last.
    """
    line = leg.call.line
    wanted, finish = verb.get("numDigits"), verb.get("finishOnKey", "#")
    wait = round(float(verb.get("timeout", "5")) * RATE_HZ)
    digits: list[str] = []
    state = {"since": line.position, "is_complete": False}
    prompting = asyncio.create_task(_prompt(verb, leg))

    def take(key: str) -> None:
        state["since"] = line.position
        if key == finish:
            state["is_complete"] = True
            return
        digits.append(key)
        state["is_complete"] = bool(wanted) and len(digits) >= int(wanted)

    def is_over() -> bool:
        is_prompting = not prompting.done() and not digits
        if is_prompting:
            state["since"] = line.position
        return bool(state["is_complete"]) or (not is_prompting and line.position - state["since"] >= wait)

    before, line.on_key = line.on_key, take
    try:
        await line.until(is_over)
    finally:
        line.on_key = before
        if not prompting.done():
            prompting.cancel()
            with suppress(asyncio.CancelledError):
                await prompting
            line.ear.clear()
    if not digits and verb.get("actionOnEmptyResult") != "true":
        return Flow.NEXT
    return Instruction(
        url=leg.resolve(verb.get("action")),
        method=verb.get("method", "POST"),
        purpose="action",
        extra=(("Digits", "".join(digits)),),
    )


async def _prompt(verb: Element, leg: Leg) -> None:
    for element in verb.children:
        await _PROMPTS[element.name].run(element, leg)


VERB = Verb(
    grammar=Grammar(
        attributes=frozenset(
            {"action", "method", "timeout", "numDigits", "finishOnKey", "input", "actionOnEmptyResult"}
        ),
        values={"method": METHODS, "input": frozenset({"dtmf"})},
        children={name: prompt.grammar for name, prompt in _PROMPTS.items()},
    ),
    run=run,
)
