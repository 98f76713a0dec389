"""What a vendor's file must define, per capability: ``CAPABILITIES``, ``Options`` and ``build``.

A vendor capability is one file, ``providers/<vendor>/<kind>.py``, found on disk and listed nowhere. ``Options`` is a
frozen struct that forbids unknown fields; its JSON Schema is published, so that the control plane refuses a bad option
without importing a pipeline. Defaults must make ``Options()`` valid wherever the vendor has a sensible default.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct
from pipecat.processors.aggregators.llm_context import LLMContext

Kind = Literal["stt", "llm", "tts", "speech", "embed", "avatar"]


class Capabilities(Struct, frozen=True, kw_only=True):
    """What control and the pipeline need to know of a vendor before they build it.

    ``needs_secret``: a key must exist when the agent is published. ``takes_base_url``: the user names the server, so
    every connection goes through the egress wall. ``secret_optional_with``: options that name the user's own server;
    with any of them set, no key is needed, and the installation's key is not for that server. ``rates_hz``: sample
    rates it takes (stt) or gives (tts); empty for any.
    """

    needs_secret: bool
    takes_base_url: bool = False
    secret_optional_with: tuple[str, ...] = ()
    rates_hz: tuple[int, ...] = ()
    word_times: bool = False
    interim_results: bool = False


class BuildContext(Struct, frozen=True, kw_only=True):
    """What one call gives to a vendor. ``rate_hz`` is the pipeline's rate, both ways: mono s16le.

    ``expected_phrases`` are words that callers of this agent are likely to say, by its model; ``keyterms`` those that
    its author lists.
    ``conversation`` is for a speech model alone: prompt, tools and what was said so far, for when it begins and for
    whenever it begins anew. It grows with the call.
    ``egress_allow`` are the networks (CIDR) that the operator opened for URLs supplied by users. ``models_dir`` is the
    folder of models that run on this machine; empty for none.
    """

    rate_hz: int
    language: str
    secret: str | None = None
    expected_phrases: tuple[str, ...] = ()
    keyterms: tuple[str, ...] = ()
    egress_allow: tuple[str, ...] = ()
    conversation: LLMContext | None = None
    models_dir: str = ""


class VendorModule(Protocol):
    """The shape of ``providers/<vendor>/<kind>.py``."""

    CAPABILITIES: Capabilities
    Options: type[Struct]

    def build(self, options: Any, context: BuildContext) -> Any:
        """A Pipecat service for one call; of the kinds ``embed`` and ``avatar`` an `Embedder` and an
        `Avatar`. Must not block: what loads slowly is
        shared and loaded before."""
        ...


class Rehearsed(Protocol):
    """A vendor whose options have no default may also define this: valid ones for the call that warms a worker up."""

    REHEARSAL: Mapping[str, Any]


class Expectant(Protocol):
    """An ``llm`` vendor may also define this: phrases that callers are likely to say, taken from its options."""

    def expects(self, options: Any) -> Sequence[str]:
        """Lower-case phrases without punctuation."""
        ...
