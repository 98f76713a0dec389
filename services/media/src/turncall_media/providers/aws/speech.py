"""Nova Sonic: one model that hears and speaks, over one stream of HTTP/2.

Pipecat's service stands on AWS's SDK in its first versions, whose streams are opened by a library of C past the egress
wall, and takes turns by Nova's own detection.
"""

import re
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from pipecat.services.llm_service import LLMService

from turncall_egress.httpx2_transport import trusted
from turncall_media.errors import VendorUnusable
from turncall_media.providers.aws.access import credentials
from turncall_media.providers.aws.server import BEDROCK, Region
from turncall_media.providers.aws.sonic import SonicService
from turncall_media.stages import lines
from turncall_media.stages.kinds import BuildContext, Capabilities
from turncall_media.stages.lines import BaseUrl, TimeoutMs

CAPABILITIES = Capabilities(
    needs_secret=True,
    takes_base_url=True,
    secret_optional_with=("base_url",),
    rates_hz=(8000, 16_000, 24_000),
    interim_results=True,
)
TOP_P: Final = 0.9
KEYLESS: Final = "none:none"
"""Signs for a server of the user's own, which needs no key."""
UNFIT: Final = r"^amazon\.nova-sonic-v1"
"""The first generation takes no words beside the sound, so it could not be told what to say."""
OPTIONS_RULES: Final[dict[str, Any]] = {"not": {"required": ["model"], "properties": {"model": {"pattern": UNFIT}}}}
_is_unfit = re.compile(UNFIT).match
OF_A_LANGUAGE: Final = {
    "de": "lennart",
    "en": "matthew",
    "en-AU": "olivia",
    "en-GB": "amy",
    "en-IN": "arjun",
    "es": "carlos",
    "fr": "florian",
    "hi": "arjun",
    "it": "lorenzo",
    "pt": "leo",
}


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, where, and how it sounds and answers. The key is an access key, as ``id:secret``, with a session
    token behind another colon if it has one."""

    model: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9.:/_-]{1,300}$(?!\n)", description="Nova Sonic from its second generation on.")
    ] = "amazon.nova-2-sonic-v1:0"
    voice: Annotated[
        str,
        Meta(
            pattern=r"^[a-z]{0,40}$(?!\n)", description="One of Nova's; empty for one that speaks the agent's language."
        ),
    ] = ""
    region: Region = "us-east-1"
    base_url: BaseUrl = ""
    temperature: Annotated[float, Meta(ge=0, le=1, description="Higher is more varied.")] = 0.7
    max_tokens: Annotated[int, Meta(ge=1, le=8192, description="Longest reply, sound included.")] = 1024
    timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        if _is_unfit(self.model):
            raise ValueError("model must be of Nova Sonic's second generation or a later one")


def build(options: Options, context: BuildContext) -> LLMService[Any]:
    """The model of one call. Raises `VendorUnusable` for a base_url that no request may go to, without an access key,
    and for a language that no voice speaks."""
    hosted = BEDROCK.format(region=options.region)
    line = lines.line("aws", hosted, options.base_url, options.timeout_ms, context)
    inference = {"maxTokens": options.max_tokens, "topP": TOP_P, "temperature": options.temperature}
    return SonicService(
        options.model,
        options.voice or _voice(context.language),
        inference,
        line,
        credentials(context.secret or KEYLESS),
        options.region,
        context,
    )


def warm() -> None:
    """Loads the trusted certificates."""
    trusted("h2")


def _voice(language: str) -> str:
    voice = OF_A_LANGUAGE.get(language) or OF_A_LANGUAGE.get(language.split("-", maxsplit=1)[0])
    if voice is None:
        raise VendorUnusable(f"vendor aws speaks {', '.join(sorted(OF_A_LANGUAGE))}, not {language}")
    return voice
