"""A value that must never be shown: keys, passwords, peppers."""

import hmac
from typing import final


@final
class Secret:
    """Text that hides itself from ``repr``, ``str``, formatting and serialisers; `reveal` is the only way to it.

    Two secrets are compared in constant time. There is no hash: a secret is no dictionary key.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # declared unhashable on purpose

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. Call it where the value leaves the process, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled or copied out of its process")
