"""What a model's answer must be, whoever gives it: words, or calls of functions whose arguments are JSON."""

from collections import defaultdict

import msgspec


class NoAnswer(Exception):
    """The model did answer, but with nothing that can be said or done."""


class Arguments:
    """The arguments of an answer's calls, as they come in pieces. Pipecat passes over a call whose arguments are no
    JSON, and the caller would wait for what the model announced."""

    def __init__(self) -> None:
        self._pieces: defaultdict[int, list[str]] = defaultdict(list)

    def add(self, call: int, piece: str) -> None:
        """The next piece of the arguments of the ``call``-th call."""
        self._pieces[call].append(piece)

    def check(self, *, may_be_missing: bool = False) -> None:
        """Raises `NoAnswer` unless all of them are JSON objects. ``may_be_missing``: to whom nothing is ``{}``."""
        for pieces in self._pieces.values():
            written = "".join(pieces)
            if may_be_missing and not written:
                continue
            try:
                msgspec.json.decode(written, type=dict)
            except msgspec.DecodeError as error:
                raise NoAnswer(f"the model called a function with arguments that are no object: {error}") from error
