"""The vendors as a table in Markdown, made of the published catalogue: what each one does and takes, and
what the tests run it against."""

from typing import Any

HEAD = "| Vendor | Kind | Key | Sample rates (Hz) | Tells | Options | Run against |\n|---|---|---|---|---|---|---|\n"
WANT_A_MODEL = ("kokoro", "piper", "whisper")
"""Vendors that do nothing without a model of hundreds of megabytes, which no test downloads."""


def table(catalogue: dict[str, Any]) -> str:
    """One row for each capability of each vendor, by name. ``catalogue`` is what ``vendors.json`` holds."""
    rows = sorted((vendor, kind, one) for kind, vendors in catalogue.items() for vendor, one in vendors.items())
    return HEAD + "".join(_row(vendor, kind, one["capabilities"], one["options"]) for vendor, kind, one in rows)


def _row(vendor: str, kind: str, capabilities: dict[str, Any], options: dict[str, Any]) -> str:
    rates = ", ".join(str(rate_hz) for rate_hz in capabilities["rates_hz"]) or "any"
    tells = [
        name for field, name in (("word_times", "word times"), ("interim_results", "partials")) if capabilities[field]
    ]
    named = ", ".join(f"`{name}`" for name in options["properties"]) or "–"
    cells = [
        f"`{vendor}`",
        kind,
        _key(vendor, capabilities),
        "–" if kind in ("llm", "embed", "avatar") else rates,
        ", ".join(tells) or "–",
        named,
        _run_against(vendor, capabilities),
    ]
    return f"| {' | '.join(cells)} |\n"


def _key(vendor: str, capabilities: dict[str, Any]) -> str:
    if not capabilities["needs_secret"]:
        return "none"
    own = ", ".join(f"`{name}`" for name in capabilities["secret_optional_with"])
    return f"`TURNCALL_VENDOR_KEY_{vendor.upper()}`{f', none with {own}' if own else ''}"


def _run_against(vendor: str, capabilities: dict[str, Any]) -> str:
    if vendor in WANT_A_MODEL:
        return "nothing: it needs a model"
    return "a fake of its protocol" if capabilities["takes_base_url"] else "itself"
