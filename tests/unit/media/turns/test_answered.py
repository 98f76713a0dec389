"""Who has answered: told from people by what is said, by a beep, and by how long it is said."""

import pytest

from turncall_media.turns.answered import Judge, Party
from turncall_proto.agent import Voicemail

SETTINGS = Voicemail(action="leave_message", message="Please call back.", beep_within_s=12, phrases=("Sprich jetzt!",))


def judge(language: str = "en-US") -> Judge:
    return Judge(SETTINGS, language, 0.0)


def speaks(heard: Judge, began_s: float, ended_s: float, words: str = "") -> None:
    """Somebody speaks, and what was said is understood a little later."""
    heard.voice_began(began_s)
    heard.voice_ended(ended_s)
    if words:
        heard.said(words, ended_s + 0.2)


def test_a_word_and_a_pause_is_a_person() -> None:
    """Whoever says hello and waits is spoken to at once."""
    heard = judge()
    speaks(heard, 0.5, 1.1, "Hello?")
    assert heard.look(1.5) is Party.UNKNOWN
    assert heard.look(2.0) is Party.PERSON


def test_silence_is_a_person_who_waits() -> None:
    """Nobody says a word: we do."""
    assert judge().look(2.4) is Party.UNKNOWN
    assert judge().look(2.6) is Party.PERSON


def test_a_long_sentence_is_given_time() -> None:
    """A receptionist's sentence is a person's, once a pause follows that no machine makes in the middle of its own."""
    heard = judge()
    speaks(heard, 0.3, 4.0, "Good morning, Miller and sons, Anna speaking, how can I help you?")
    assert heard.look(5.0) is Party.UNKNOWN
    assert heard.look(5.6) is Party.PERSON


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en-US", "Hi, you have reached Ada. Please leave a message after the tone."),
        ("de-DE", "Guten Tag. Bitte hinterlassen Sie eine Nachricht nach dem Signalton."),
        ("es-ES", "Deje su mensaje después de la señal."),
        ("fr-FR", "Bonjour, laissez-moi un message après le bip."),
        ("de-DE", "Please leave a message after the tone."),
        ("en-US", "Und jetzt: sprich jetzt."),
    ],
)
def test_a_machine_is_known_by_its_words(language: str, words: str) -> None:
    """In the agent's language, in English, and by the phrases that the agent brings along."""
    heard = judge(language)
    speaks(heard, 0.3, 4.0, words)
    assert (heard.look(4.3), heard.clue) == (Party.MACHINE, "words")


def test_a_machine_is_known_by_its_beep_or_its_length() -> None:
    """Also without a word understood."""
    beeps, talks = judge(), judge()
    beeps.beeped(1.0)
    talks.voice_began(0.2)
    assert (beeps.look(1.0), beeps.clue) == (Party.MACHINE, "beep")
    assert talks.look(7.0) is Party.UNKNOWN
    assert (talks.look(7.3), talks.clue) == (Party.MACHINE, "length")


def test_a_short_gap_belongs_to_the_speech_around_it() -> None:
    """A breath does not make two people's words of one greeting."""
    heard = judge()
    speaks(heard, 0.2, 4.0)
    heard.voice_began(4.4)
    assert heard.look(7.3) is Party.MACHINE


def test_a_message_is_left_after_the_beep_or_in_silence() -> None:
    """A machine that never beeps is waited for so long, or until it has been silent for three seconds."""
    beeps, silent, endless = judge(), judge(), judge()
    for heard in (beeps, silent, endless):
        heard.voice_began(0.2)
        heard.said("Leave a message after the tone.", 2.0)
        assert not heard.may_speak(2.1)
    beeps.beeped(3.0)
    assert beeps.may_speak(3.0)
    silent.voice_ended(3.0)
    assert (silent.may_speak(5.9), silent.may_speak(6.0)) == (False, True)
    assert (endless.may_speak(13.9), endless.may_speak(14.0)) == (False, True)


def test_somebody_who_picks_up_during_the_greeting_is_a_person() -> None:
    """A word or two after the machine has stopped; not a sentence of the machine after a breath."""
    picked_up, goes_on = judge(), judge()
    for heard in (picked_up, goes_on):
        speaks(heard, 0.2, 3.0, "Please leave a message.")
        assert heard.look(3.3) is Party.MACHINE
    speaks(picked_up, 4.5, 5.0, "Hello? I'm here!")
    speaks(goes_on, 4.5, 5.0, "After the tone.")
    assert picked_up.look(6.0) is Party.PERSON
    assert goes_on.look(6.0) is Party.MACHINE


def test_a_person_may_turn_out_to_be_a_machine() -> None:
    """A greeting that begins like a person's is known by what follows."""
    heard = judge()
    speaks(heard, 0.2, 0.8, "Hello.")
    assert heard.look(1.7) is Party.PERSON
    speaks(heard, 2.0, 4.0, "I cannot come to the phone.")
    assert heard.party is Party.MACHINE


def test_an_assistant_is_told_and_then_waited_for() -> None:
    """Once it knows why we call, silence is its asking somebody, for half a minute; then whoever speaks is judged."""
    heard = judge()
    speaks(heard, 0.2, 4.0, "Please state your name and the reason for calling.")
    assert heard.look(4.3) is Party.ASSISTANT
    heard.screened(6.0)
    assert heard.look(20.0) is Party.UNKNOWN
    speaks(heard, 20.0, 20.6, "Yes?")
    assert heard.look(21.5) is Party.PERSON


def test_the_carriers_word_counts_first() -> None:
    """It has listened before us: a machine whose greeting is over gets its message at once."""
    human, starts, ends, unknown = judge(), judge(), judge(), judge()
    human.told("human", 0.0)
    starts.told("machine_start", 0.0)
    ends.told("machine_end_beep", 0.0)
    unknown.told("unknown", 0.0)
    assert human.look(0.0) is Party.PERSON
    assert (starts.look(0.0), starts.may_speak(0.1), starts.clue) == (Party.MACHINE, False, "carrier")
    assert (ends.look(0.0), ends.may_speak(0.1)) == (Party.MACHINE, True)
    assert unknown.look(0.0) is Party.UNKNOWN
