"""The shape of TwiML: elements as they were read, and what each may hold."""

from collections.abc import Mapping

import msgspec


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """One element with the attributes and children that its grammar allows; `text` is all text inside it."""

    name: str
    attributes: Mapping[str, str]
    text: str
    children: tuple["Element", ...]

    def get(self, attribute: str, default: str = "") -> str:
        """The attribute's value, or `default` when it is absent."""
        return self.attributes.get(attribute, default)


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """What an element may hold: attributes, children by name, and whether it holds text.

    `values` limits some attributes to a closed set; `is_prose` lets children be part of the text (SSML).
    """

    attributes: frozenset[str] = frozenset()
    values: Mapping[str, frozenset[str]] = {}
    children: Mapping[str, "Grammar"] = {}
    is_prose: bool = False


METHODS = frozenset({"GET", "POST"})
