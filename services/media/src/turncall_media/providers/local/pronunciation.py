"""How to say a word that the recogniser's dictionary lacks: espeak-ng's phonemes as those of CMUdict."""

from typing import Final

from turncall_media.errors import VendorUnusable
from turncall_media.providers.local.espeak import espeak

_PHONES: Final = {
    **dict.fromkeys(("ə", "ɐ", "ʌ"), "AH"),
    **dict.fromkeys(("ɪ", "ᵻ"), "IH"),
    **dict.fromkeys(("ɑː", "ɑ", "ɔ", "ɒ"), "AA"),
    **dict.fromkeys(("iː", "i"), "IY"),
    **dict.fromkeys(("ɚ", "ɜː", "ɝ"), "ER"),
    **dict.fromkeys(("oʊ", "əʊ", "o", "oː"), "OW"),
    **dict.fromkeys(("uː", "u"), "UW"),
    **dict.fromkeys(("æ", "a", "aː"), "AE"),
    **dict.fromkeys(("t", "ɾ", "ʔ", "t̬"), "T"),
    **dict.fromkeys(("k", "x", "q"), "K"),
    **dict.fromkeys(("ɡ", "g"), "G"),
    **dict.fromkeys(("ɹ", "r"), "R"),
    **dict.fromkeys(("l", "ɬ"), "L"),
    "ɔː": "AO",
    "ʊ": "UH",
    "ɛ": "EH",
    "e": "EH",
    "eɪ": "EY",
    "aɪ": "AY",
    "aʊ": "AW",
    "ɔɪ": "OY",
    "ɑːɹ": "AA R",
    "ɔːɹ": "AO R",
    "oːɹ": "AO R",
    "ɛɹ": "EH R",
    "ɪɹ": "IH R",
    "ʊɹ": "UH R",
    "aɪɚ": "AY ER",
    "aɪə": "AY AH",
    "iə": "IY AH",
    "əl": "AH L",
    "l̩": "AH L",
    "n̩": "AH N",
    "p": "P",
    "b": "B",
    "d": "D",
    "f": "F",
    "v": "V",
    "θ": "TH",
    "ð": "DH",
    "s": "S",
    "z": "Z",
    "ʃ": "SH",
    "ʒ": "ZH",
    "h": "HH",
    "m": "M",
    "n": "N",
    "ŋ": "NG",
    "j": "Y",
    "w": "W",
    "dʒ": "JH",
    "tʃ": "CH",
}
_STRESS: Final = str.maketrans("", "", "ˈˌ")


def arpabet(word: str) -> str:
    """The word's phones, divided by spaces: ``toothache`` is ``T UW TH EY K``.

    Raises `VendorUnusable` for a word without any sound in English.
    """
    phones = [_PHONES[sound] for part in espeak().phonemes(word) if (sound := part.translate(_STRESS)) in _PHONES]
    if not phones:
        raise VendorUnusable(f"the local recogniser cannot tell how {word!r} sounds: write it as it is spoken")
    return " ".join(phones)
