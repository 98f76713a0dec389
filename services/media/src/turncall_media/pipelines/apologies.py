"""What the caller hears when a vendor is lost for good, in the agent's language."""

from typing import Final

_BY_LANGUAGE: Final = {
    "de": "Es tut mir leid, wir haben gerade ein technisches Problem. Bitte rufen Sie später noch einmal an.",
    "en": "I am sorry, we have a technical problem at the moment. Please call again later.",
    "es": "Lo siento, en este momento tenemos un problema técnico. Por favor, llame más tarde.",
    "fr": "Je suis désolé, nous avons un problème technique. Veuillez rappeler plus tard.",
    "it": "Mi dispiace, al momento abbiamo un problema tecnico. La preghiamo di richiamare più tardi.",
    "nl": "Het spijt me, we hebben op dit moment een technisch probleem. Belt u later nog eens.",
    "pl": "Przepraszamy, mamy teraz problem techniczny. Prosimy zadzwonić później.",
    "pt": "Lamento, temos neste momento um problema técnico. Por favor, ligue mais tarde.",
}


def apology(language: str) -> str:
    """One or two sentences in ``language`` (BCP 47), in English when there are none in it."""
    return _BY_LANGUAGE.get(language.split("-", maxsplit=1)[0], _BY_LANGUAGE["en"])
