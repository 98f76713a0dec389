"""Which vendors there are: found on disk as ``providers/<vendor>/<kind>.py``, imported when asked for.

A vendor whose packages are optional has an extra of its own name: ``turncall-media[local]``.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast, get_args

import msgspec
from packaging.requirements import Requirement

from turncall_media.errors import VendorUnusable
from turncall_media.stages.kinds import Kind, VendorModule

PROVIDERS: Final = Path(__file__).parent / "providers"
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_SHARED: Final = Lock()
"""Two threads at once would load what is shared twice."""


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


def installed() -> dict[Kind, tuple[str, ...]]:
    """The vendors of each kind whose packages are here, by what their extras ask for. Imports none of them."""
    lacking = _lacking()
    return {kind: tuple(vendor for vendor in vendors if vendor not in lacking) for kind, vendors in catalogue().items()}


def _lacking() -> set[str]:
    """Extras of which a package is not installed."""
    ours = distribution("turncall-media")
    requirements = [Requirement(text) for text in ours.requires or ()]
    return {
        extra
        for extra in ours.metadata.get_all("Provides-Extra", ())
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not _is_here(requirement.name)
    }


def _is_here(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def warm(kind: Kind, vendor: str) -> None:
    """Imports one vendor capability and loads what its calls share: seconds the first time, next to nothing later.

    For threads. Raises `VendorUnusable` as `load` does.
    """
    shared = getattr(load(kind, vendor), "warm", None)
    if shared is not None:
        with _SHARED:
            shared()


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
