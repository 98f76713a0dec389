"""Answering-machine detection, as the vendor does it: by how long the called side speaks before it listens."""

from turncall_phone.calls import Call, Detection

# A machine whose greeting ends without a beep is told by so much silence.
GREETING_OVER_MS = 1500


async def detect(call: Call, how: Detection) -> tuple[tuple[str, str], ...]:
    """Listen from the answer on; returns `AnsweredBy` and `MachineDetectionDuration`, and notes the former.

    Speech of `speech_ms` at a stretch is a machine; shorter speech and then `speech_end_ms` of silence a human;
    `silence_ms` without a word, or `timeout_s` without a verdict, unknown. Raises LineClosed when the call ends.
    """
    line, began_ms = call.line, call.line.at_ms
    person = line.person

    def passed_ms() -> int:
        return line.at_ms - began_ms

    def is_machine() -> bool:
        return person.burst_ms >= how.speech_ms or call.has_beeped

    def is_human() -> bool:
        return person.spoken_ms > 0 and person.silent_ms >= how.speech_end_ms

    def is_over() -> bool:
        is_silent = person.spoken_ms == 0 and passed_ms() >= how.silence_ms
        return is_machine() or is_human() or is_silent or passed_ms() >= how.timeout_s * 1000

    def is_greeting_over() -> bool:
        return call.has_beeped or person.silent_ms >= GREETING_OVER_MS or passed_ms() >= how.timeout_s * 1000

    await line.until(is_over)
    verdict = "human" if is_human() else "unknown"
    if is_machine():
        verdict = "machine_start"
        if how.waits_for_end:
            await line.until(is_greeting_over)
            silent = "machine_end_silence" if person.silent_ms >= GREETING_OVER_MS else "machine_end_other"
            verdict = "machine_end_beep" if call.has_beeped else silent
    call.answered_by = verdict
    return (("AnsweredBy", verdict), ("MachineDetectionDuration", str(passed_ms())))
