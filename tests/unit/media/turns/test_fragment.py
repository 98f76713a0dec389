"""What of a caller's audio is believed when a call goes on in the middle of a sentence."""

from collections.abc import Iterable

from turncall_media.audio.sound import TELEPHONE
from turncall_media.turns.fragment import AT_MOST_MS, Fragment
from turncall_media.turns.voice import VoiceChange

PIECE_MS = 20
WORD = b"\x01\x02" * (PIECE_MS * TELEPHONE.bytes_per_ms // 2)
SILENCE = bytes(len(WORD))
START_MS = 64


def hear(fragment: Fragment, lasts_ms: int, changes: Iterable[VoiceChange]) -> tuple[bytes, list[VoiceChange]]:
    """Feeds ``lasts_ms`` of words; each change is noticed with the piece in which its lateness ends."""
    heard, passed = b"", []
    due = {(change.at_ms + change.late_ms) // PIECE_MS: change for change in changes}
    for index in range(lasts_ms // PIECE_MS):
        pcm, told = fragment.take(WORD, [due[index]] if index in due else [])
        heard += pcm
        passed += told
    return heard, passed


def began(at_ms: int) -> VoiceChange:
    return VoiceChange("began", at_ms, START_MS)


def ended(at_ms: int) -> VoiceChange:
    return VoiceChange("ended", at_ms, 200)


def test_everything_passes_in_a_call_that_begins_here() -> None:
    """A caller may speak from the first sample on."""
    fragment = Fragment(START_MS, is_midway=False)
    assert hear(fragment, 400, [began(0)]) == (WORD * 20, [began(0)])
    assert not fragment.is_found


def test_voice_from_the_start_is_silenced_to_its_end() -> None:
    """Neither its sound nor its turn passes, the clock stays, and what follows is heard whole."""
    fragment = Fragment(START_MS, is_midway=True)
    heard, passed = hear(fragment, 2000, [began(32), ended(800), began(1400)])
    assert fragment.is_found
    assert passed == [began(1400)]
    assert heard == SILENCE * 51 + WORD * 49


def test_voice_that_begins_later_passes_whole() -> None:
    """What was held until this was known comes with it."""
    fragment = Fragment(START_MS, is_midway=True)
    heard, passed = hear(fragment, 1000, [began(230)])
    assert not fragment.is_found
    assert (heard, passed) == (WORD * 50, [began(230)])


def test_silence_passes_once_no_voice_can_have_been_there() -> None:
    """Nothing is held back for longer than a voice needs to be noticed."""
    fragment = Fragment(START_MS, is_midway=True)
    assert hear(fragment, 600, []) == (WORD * 30, [])
    assert not fragment.is_found


def test_noise_without_an_end_is_listened_to_after_all() -> None:
    """A line that always seems to speak does not leave its caller unheard."""
    fragment = Fragment(START_MS, is_midway=True)
    heard, passed = hear(fragment, AT_MOST_MS + 1000, [began(0)])
    assert [change.kind for change in passed] == ["began"]
    assert heard == SILENCE * (AT_MOST_MS // PIECE_MS) + WORD * 50
