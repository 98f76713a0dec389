"""Which vendors there are: found on disk as ``providers/<vendor>/<kind>.py``, imported when asked for.

A vendor whose packages are optional has an extra of its own name: ``turncall-media[local]``.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec

from turncall_media.errors import VendorUnusable
from turncall_media.kinds import Kind, VendorModule

PROVIDERS: Final = Path(__file__).parent / "providers"
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def catalogue() -> dict[Kind, tuple[str, ...]]:
    """The vendors of each kind by name, sorted. Imports none of them."""
    return dict(_known(PROVIDERS))


@cache
def _known(providers: Path) -> Mapping[Kind, tuple[str, ...]]:
    """Looked up once: reading the folders took each call 1.5 ms."""
    return {kind: tuple(sorted(path.parent.name for path in providers.glob(f"*/{kind}.py"))) for kind in KINDS}


def load(kind: Kind, vendor: str) -> VendorModule:
    """The module of one vendor capability.

    The first import of a vendor takes up to some seconds (2.2 s for OpenAI's, measured) and blocks: see `warm`. Raises
    `VendorUnusable` for a vendor that does not exist, or whose packages are not installed here.
    """
    known = _known(PROVIDERS)[kind]
    if vendor not in known:
        raise VendorUnusable(f"no vendor {vendor!r} for {kind}; there are {', '.join(known)}")
    try:
        return cast(VendorModule, import_module(f"turncall_media.providers.{vendor}.{kind}"))
    except ImportError as error:
        if (error.name or "").startswith("turncall_media."):
            raise
        raise VendorUnusable(
            f"vendor {vendor!r} is not installed on this worker: install turncall-media[{vendor}] ({error})"
        ) from error


def warm() -> dict[Kind, tuple[str, ...]]:
    """Imports every vendor whose packages are installed and loads what its calls share; says which are ready.

    Blocks for seconds: a worker calls it before it takes calls, so that no call pays for it.
    """
    ready: dict[Kind, tuple[str, ...]] = {}
    for kind, vendors in catalogue().items():
        ready[kind] = tuple(vendor for vendor in vendors if _warmed(kind, vendor))
    return ready


def _warmed(kind: Kind, vendor: str) -> bool:
    try:
        shared = getattr(load(kind, vendor), "warm", None)
        if shared is not None:
            shared()
    except VendorUnusable:
        return False
    return True


def vendors_schema() -> dict[str, Any]:
    """What control must know of every vendor: ``{kind: {vendor: {"capabilities", "options"}}}``.

    ``options`` is a JSON Schema 2020-12 that stands by itself (its ``$defs`` beside it) and that accepts exactly what
    the vendor's ``Options`` decodes. Needs every vendor's packages.
    """
    return {
        kind: {
            vendor: {
                "capabilities": msgspec.to_builtins(module.CAPABILITIES),
                "options": _options_schema(module),
            }
            for vendor in vendors
            for module in (load(kind, vendor),)
        }
        for kind, vendors in catalogue().items()
    }


def _options_schema(module: VendorModule) -> dict[str, Any]:
    (root,), components = msgspec.json.schema_components([module.Options], ref_template="#/$defs/{name}")
    name = root["$ref"].rpartition("/")[2]
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **components.pop(name),
        **_rules(module),
    }
    return {**schema, "$defs": dict(sorted(components.items()))} if components else schema


def _rules(module: VendorModule) -> Mapping[str, Any]:
    rules: Mapping[str, Any] = getattr(module, "OPTIONS_RULES", {})
    return rules
