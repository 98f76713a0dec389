"""From an agent's language to a place where it is spoken: some vendors know no language without one."""

from typing import Final

_REGIONS: Final = {
    "ar": "AE",
    "cs": "CZ",
    "da": "DK",
    "el": "GR",
    "en": "US",
    "he": "IL",
    "hi": "IN",
    "ja": "JP",
    "ko": "KR",
    "nb": "NO",
    "pt": "BR",
    "sv": "SE",
    "uk": "UA",
    "vi": "VN",
    "zh": "CN",
}
"""Where the region is not called as the language is."""


def located(language: str) -> str:
    """``language`` (BCP 47) with a region, its own or the one where most speak it: ``de`` is ``de-DE``."""
    return language if "-" in language else f"{language}-{_REGIONS.get(language, language.upper())}"
