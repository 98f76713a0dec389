"""How strictly documents are read."""

import pytest

from turncall_phone.twiml.parser import TwimlRefused, parse_twiml
from turncall_phone.twiml.verbs import VERBS

GRAMMARS = {name: verb.grammar for name, verb in VERBS.items()}


def test_verbs_come_in_order_with_attributes_text_and_nouns() -> None:
    """A whole document is read as it stands."""
    document = parse_twiml(
        b"<?xml version='1.0' encoding='UTF-8'?><Response><Say voice='alice'>Hello <emphasis>there</emphasis>\n you"
        b"</Say><Connect action='/next' method='GET'><Stream url='wss://a.example/m'>"
        b"<Parameter name='k' value='v'/></Stream></Connect></Response>",
        GRAMMARS,
    )

    say, connect = document.verbs
    assert (say.name, say.text, say.get("voice")) == ("Say", "Hello there you", "alice")
    assert dict(connect.attributes) == {"action": "/next", "method": "GET"}
    (stream,) = connect.children
    assert stream.get("url") == "wss://a.example/m"
    assert dict(stream.children[0].attributes) == {"name": "k", "value": "v"}
    assert document.warnings == ()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 12100),
        (b"<Response><Say>torn", 12100),
        (b"  <?xml version='1.0'?><Response/>", 12100),
        (b"<response/>", 12100),
        (b"<Say>hello</Say>", 12100),
        (b"<Response>" + b" " * 65536 + b"</Response>", 11750),
        (b"<Response><Enqueue/></Response>", 12200),
    ],
)
def test_a_document_that_cannot_run_is_refused_with_its_code(body: bytes, code: int) -> None:
    """Torn XML, a wrong root, too many bytes and verbs that are not emulated never run half-way."""
    with pytest.raises(TwimlRefused) as refused:
        parse_twiml(body, GRAMMARS)

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"<Response><say>hello</say><Hangup/></Response>", ["Hangup"]),
        (b"<Response><Pause Length='2'/></Response>", ["Pause"]),
        (b"<Response><Reject reason='tired'/></Response>", ["Reject"]),
        (b"<Response><Connect><stream url='wss://a.example'/></Connect></Response>", ["Connect"]),
    ],
)
def test_unknown_names_and_values_are_left_out_with_a_warning(body: bytes, kept: list[str]) -> None:
    """Case counts: a misspelt verb or attribute is skipped, said so, and the rest runs."""
    document = parse_twiml(body, GRAMMARS)

    assert [verb.name for verb in document.verbs] == kept
    assert len(document.warnings) == 1
    assert not any(verb.attributes or verb.children for verb in document.verbs)


def test_a_document_of_exactly_64_kb_is_read() -> None:
    """The limit itself is allowed."""
    body = b"<Response>" + b" " * (65536 - 21) + b"</Response>"

    assert parse_twiml(body, GRAMMARS).verbs == ()
