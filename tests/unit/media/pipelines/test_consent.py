"""What counts as a yes to a recording: only what is clearly one."""

import pytest

from turncall_media.pipelines.consent import expected, understood
from turncall_proto.agent import RecordingConsent

KEYS = RecordingConsent(yes_key="7", no_key="*")


@pytest.mark.parametrize(
    ("text", "language", "answer"),
    [
        ("Yes.", "en-US", "yes"),
        ("Yeah, sure, go ahead.", "en-GB", "yes"),
        ("No.", "en-US", "no"),
        ("Yes but I'd rather not.", "en-US", "no"),
        ("I don’t think that is okay.", "en-US", "no"),
        ("Yesterday I called.", "en-US", "unclear"),
        ("I want to book a table, yes, for four people on Friday.", "en-US", "unclear"),
        ("", "en-US", "unclear"),
        ("Ja, in Ordnung.", "de-DE", "yes"),
        ("Lieber nicht.", "de", "no"),
        ("D’accord !", "fr-FR", "yes"),
        ("Sí, claro.", "es", "yes"),
        ("Nie.", "pl", "no"),
        ("Yes.", "ja", "unclear"),
        ("DTMF: 7", "ja", "yes"),
        ("DTMF: *", "en-US", "no"),
        ("DTMF: 17", "en-US", "unclear"),
    ],
)
@pytest.mark.proves("agent.recording_consent.yes_key", "agent.recording_consent.no_key")
def test_only_a_clear_yes_is_one(text: str, language: str, answer: str) -> None:
    """A no anywhere is a no; a long answer, and one in a language without a list, says nothing; keys are certain."""
    assert understood(text, language, KEYS) == answer


def test_ears_that_must_know_beforehand_are_told_the_words() -> None:
    """The local recogniser understands only what it expects."""
    assert {"yes", "no", "of course"} <= set(expected("en-US"))
    assert expected("ja") == ()
