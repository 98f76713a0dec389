"""What the media plane can run: each vendor's options as a schema, checked here without importing a pipeline.

The catalogue is generated from the vendors' own files and travels in the contract's package.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, TypeChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from msgspec import Struct

from turncall_control.errors import Fault
from turncall_proto.agent import AgentSpec, Kind, VendorRef


def _is_integer(_: TypeChecker, value: object) -> bool:
    """JSON Schema counts 5.0 as an integer; the vendors' structs do not."""
    return isinstance(value, int) and not isinstance(value, bool)


OptionsValidator: Final = extend(  # type: ignore[no-untyped-call]  # the library leaves it untyped
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


class Capabilities(Struct, frozen=True, kw_only=True):
    """What the check of an agent needs to know of a vendor.

    ``secret_optional_with`` are options that name a server of the user's own, which may ask for no key.
    """

    needs_secret: bool
    secret_optional_with: tuple[str, ...] = ()


class Vendor(Struct, frozen=True, kw_only=True, dict=True):
    """One capability of one vendor. ``options`` is the JSON Schema of what it takes."""

    capabilities: Capabilities
    options: dict[str, Any]

    @cached_property
    def validator(self) -> Validator:
        """The checker of this vendor's options."""
        made: Validator = OptionsValidator(self.options)
        return made


Catalogue = Mapping[Kind, Mapping[str, Vendor]]


def packaged() -> Catalogue:
    """The catalogue that came with the contract."""
    return parsed((files("turncall_proto") / "schema" / "vendors.json").read_bytes())


def parsed(data: bytes) -> Catalogue:
    """A catalogue from its JSON."""
    return msgspec.json.decode(data, type=dict[Kind, dict[str, Vendor]])


def faults(catalogue: Catalogue, spec: AgentSpec, root: str) -> Iterator[Fault]:
    """What is wrong with the vendors of an agent and with their options; paths begin with ``root``."""
    for kind, ref, path in _stages(spec):
        yield from faults_of(catalogue, kind, ref, f"{root}.{path}")


def faults_of(catalogue: Catalogue, kind: Kind, ref: VendorRef, at: str) -> Iterator[Fault]:
    """What is wrong with one vendor that stands at the path ``at``, and with its options."""
    vendor = catalogue.get(kind, {}).get(ref.vendor)
    if vendor is None:
        known = ", ".join(sorted(catalogue.get(kind, {})))
        yield Fault(field=f"{at}.vendor", message=f"There is no {kind} vendor `{ref.vendor}`; known are {known}")
    else:
        for error in vendor.validator.iter_errors(ref.options):
            yield from described(error, f"{at}.options")


def missing_keys(catalogue: Catalogue, spec: AgentSpec, held: Collection[str]) -> list[str]:
    """Vendors that ``spec`` uses, that need a key, and whose key is not among ``held``."""
    needed = {
        ref.vendor
        for kind, ref, _ in _stages(spec)
        if (vendor := catalogue.get(kind, {}).get(ref.vendor)) and _needs_key(vendor.capabilities, ref)
    }
    return sorted(needed - set(held))


def _needs_key(capabilities: Capabilities, ref: VendorRef) -> bool:
    return capabilities.needs_secret and not any(ref.options.get(name) for name in capabilities.secret_optional_with)


def described(error: ValidationError | SchemaError, root: str) -> Iterator[Fault]:
    """A schema's complaint with the path of the field: an unknown or missing field is named in the path itself."""
    at = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    instance, wanted = error.instance, error.validator_value
    if error.validator == "additionalProperties" and isinstance(instance, dict) and isinstance(error.schema, Mapping):
        for name in sorted(instance.keys() - error.schema.get("properties", {}).keys()):
            yield Fault(field=f"{at}.{name}", message="There is no such field")
    elif error.validator == "required" and isinstance(instance, dict) and isinstance(wanted, list):
        # One error for each missing field, and its message begins with the quoted name.
        name = next(name for name in wanted if error.message.startswith(repr(name)))
        yield Fault(field=f"{at}.{name}", message="This field is required")
    else:
        yield Fault(field=at, message=_sentence(error))


def _sentence(error: ValidationError | SchemaError) -> str:
    """Without the value itself, which may be long or private."""
    wanted = msgspec.json.encode(error.validator_value).decode()
    return f"Breaks the rule {error.validator}: {wanted[:200]}"


def _stages(spec: AgentSpec) -> Iterator[tuple[Kind, VendorRef, str]]:
    """Every vendor that may serve, fallbacks and the analysis included, with its path within the definition."""
    for kind, path, ref in spec.pipeline.places():
        yield kind, ref, f"pipeline.{path}"
    if spec.analysis is not None and spec.analysis.model is not None:
        yield "llm", spec.analysis.model, "analysis.model"
