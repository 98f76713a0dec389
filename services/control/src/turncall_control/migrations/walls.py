"""Rights and row-level security: what every migration that makes a table calls for it."""

from typing import Final

from alembic import op

API: Final = "api"
"""The login of users' requests: sees the project that its transaction names, and nothing otherwise."""
SYSTEM: Final = "system"
"""The login of look-ups and background work: sees every project."""

NAMED_PROJECT: Final = "nullif(current_setting('app.project', true), '')::uuid"
"""The transaction's project; an unset local comes back as an empty string."""


def wall(table: str, column: str = "project_id") -> None:
    """Opens ``table`` to both logins and puts it behind row-level security by the project in ``column``.

    Forced, so that the owner is under it too: a migration that rewrites rows lifts it for itself with ``NO FORCE``.
    """
    op.execute(f"grant select, insert, update, delete on {table} to {API}, {SYSTEM}")
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(
        f"create policy own_project on {table} to {API} "
        f"using ({column} = {NAMED_PROJECT}) with check ({column} = {NAMED_PROJECT})"
    )
    op.execute(f"create policy every_project on {table} to {SYSTEM} using (true) with check (true)")
