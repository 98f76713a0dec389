"""Ids as Postgres writes arrays of them: a list of UUIDs would be made, and turned into this text, each time."""

from collections.abc import Iterable


def uuids(written_ids: Iterable[str]) -> str:
    """An array for ``%s::uuid[]`` of ids as they are written everywhere else (``call_018f…``), each once."""
    return f"{{{','.join({one.rpartition('_')[2] for one in written_ids})}}}"
