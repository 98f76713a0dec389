"""What callers hear that no agent's author wrote, in the agent's language: of our troubles, and of their silence."""

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

_AGAIN_BY_LANGUAGE: Final = {
    "de": "Entschuldigung, könnten Sie das bitte noch einmal sagen?",
    "en": "Sorry, could you say that again?",
    "es": "Perdone, ¿podría repetirlo?",
    "fr": "Pardon, pourriez-vous répéter ?",
    "it": "Mi scusi, può ripetere?",
    "nl": "Sorry, kunt u dat nog een keer zeggen?",
    "pl": "Przepraszam, czy może Pan lub Pani to powtórzyć?",
    "pt": "Desculpe, pode repetir?",
}

_THERE_BY_LANGUAGE: Final = {
    "de": "Sind Sie noch da?",
    "en": "Are you still there?",
    "es": "¿Sigue ahí?",
    "fr": "Êtes-vous toujours là ?",
    "it": "È ancora in linea?",
    "nl": "Bent u er nog?",
    "pl": "Czy nadal Pan lub Pani tam jest?",
    "pt": "Ainda está aí?",
}


_RECORD_BY_LANGUAGE: Final = {
    "de": "Dürfen wir dieses Gespräch aufzeichnen? Sagen Sie Ja oder drücken Sie die {key}.",
    "en": "May we record this call? Say yes, or press {key}.",
    "es": "¿Podemos grabar esta llamada? Diga sí o pulse {key}.",
    "fr": "Pouvons-nous enregistrer cet appel ? Dites oui, ou appuyez sur {key}.",
    "it": "Possiamo registrare questa chiamata? Dica sì, oppure prema {key}.",
    "nl": "Mogen we dit gesprek opnemen? Zeg ja, of toets {key}.",
    "pl": "Czy możemy nagrać tę rozmowę? Proszę powiedzieć tak lub nacisnąć {key}.",
    "pt": "Podemos gravar esta chamada? Diga sim, ou prima {key}.",
}


def apology(language: str) -> str:
    """For a vendor that is lost for good: one or two sentences in ``language`` (BCP 47), else in English."""
    return _in(language, _BY_LANGUAGE)


def please_repeat(language: str) -> str:
    """For words that were lost: a short question in ``language`` (BCP 47), else in English."""
    return _in(language, _AGAIN_BY_LANGUAGE)


def may_we_record(language: str, yes_key: str) -> str:
    """The question whether a call may be recorded, in ``language`` (BCP 47), else in English."""
    return _in(language, _RECORD_BY_LANGUAGE).format(key=yes_key)


def still_there(language: str) -> str:
    """For a caller who says nothing: a short question in ``language`` (BCP 47), else in English."""
    return _in(language, _THERE_BY_LANGUAGE)


def _in(language: str, sentences: dict[str, str]) -> str:
    return sentences.get(language.split("-", maxsplit=1)[0], sentences["en"])
