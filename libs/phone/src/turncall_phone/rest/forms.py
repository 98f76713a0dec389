"""Reading REST parameters: every key is known or refused, every value has its type."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from turncall_phone.rest.errors import invalid


class Form:
    """The parameters of one request, repeated keys included."""

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        known: frozenset[str],
        is_strict: bool,
        not_emulated: frozenset[str] = frozenset(),
    ) -> None:
        """Raise RestError for a key that the vendor has and this carrier does not act on; for any unknown key
        when `is_strict`. The vendor ignores unknown keys, which hides a misspelt one."""
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name in not_emulated and value:
                raise invalid(f"{name} is not emulated by this carrier")
            if name not in known | not_emulated and is_strict:
                raise invalid(f"Unknown parameter {name}")
            self._values.setdefault(name, []).append(value)

    def has(self, name: str) -> bool:
        """The key was sent, maybe blank."""
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The last value of a key."""
        return self._values[name][-1] if name in self._values else default

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a repeated key, blank ones left out."""
        return tuple(value for value in self._values.get(name, ()) if value)

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds; raises RestError."""
        text = self.text(name)
        if not text:
            return default
        if not text.isdigit() or not low <= int(text) <= high:
            raise invalid(f"{name} must be a whole number from {low} to {high}")
        return int(text)

    def method(self, name: str, default: str = "POST") -> str:
        """GET or POST; raises RestError."""
        text = self.text(name, default).upper() or default
        if text not in ("GET", "POST"):
            raise invalid(f"{name} must be GET or POST")
        return text

    def url(self, name: str, *, code: int, default: str = "") -> str:
        """An absolute http(s) URL, or blank; raises RestError with `code`."""
        text = self.text(name, default)
        if not text:
            return ""
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise invalid(f"{name} is not a valid URL", code) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise invalid(f"{name} is not a valid URL", code)
        return text
