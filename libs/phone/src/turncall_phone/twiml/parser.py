"""Bytes to TwiML elements, as strictly as the carrier: case, root, size, attributes."""

from collections.abc import Mapping
from xml.etree import ElementTree

import msgspec

from turncall_phone.twiml.grammar import Element, Grammar

MAX_TWIML_BYTES = 64 * 1024

# Verbs of the vendor that are not emulated: skipping one in silence would let a wrong document pass.
NOT_EMULATED = frozenset({"Enqueue", "Leave", "Pay", "Prompt", "Queue", "Record", "Refer", "Sms", "Start", "Stop"})


class TwimlRefused(Exception):
    """The document cannot run; `code` is the carrier's error code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The verbs of a document, and what was skipped with a warning (12200)."""

    verbs: tuple[Element, ...]
    warnings: tuple[str, ...] = ()


def parse_twiml(body: bytes, verbs: Mapping[str, Grammar]) -> Document:
    """The document in `body`, whose root holds `verbs`.

    Raises TwimlRefused: 11750 over 64 kB, 12100 when it is not XML or its root is not `Response`, 12200 for a verb
    of the vendor that is not emulated. Other unknown names and values are left out with a warning.
    """
    if len(body) > MAX_TWIML_BYTES:
        raise TwimlRefused(11750, f"the document has {len(body)} bytes: at most {MAX_TWIML_BYTES} are read")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise TwimlRefused(12100, f"the document is not XML: {error}") from error
    if root.tag != "Response":
        raise TwimlRefused(12100, f"the root is <{root.tag}>: it must be <Response>")
    absent = next((child.tag for child in root if child.tag in NOT_EMULATED), None)
    if absent is not None:
        raise TwimlRefused(12200, f"<{absent}> is TwiML that this carrier does not emulate")
    warnings: list[str] = []
    response = _read(root, Grammar(children=verbs), warnings)
    return Document(verbs=response.children, warnings=tuple(warnings))


def _read(node: ElementTree.Element, grammar: Grammar, warnings: list[str]) -> Element:
    attributes: dict[str, str] = {}
    for name, value in node.attrib.items():
        if name not in grammar.attributes:
            warnings.append(f"<{node.tag}> has no attribute {name!r}: left out")
        elif name in grammar.values and value not in grammar.values[name]:
            warnings.append(f"<{node.tag} {name}={value!r}> is not one of {sorted(grammar.values[name])}: left out")
        else:
            attributes[name] = value
    children: list[Element] = []
    for child in () if grammar.is_prose else node:
        if child.tag in grammar.children:
            children.append(_read(child, grammar.children[child.tag], warnings))
        else:
            warnings.append(f"<{node.tag}> may not hold <{child.tag}>: left out")
    text = " ".join("".join(node.itertext() if grammar.is_prose else [node.text or ""]).split())
    return Element(name=node.tag, attributes=attributes, text=text, children=tuple(children))
