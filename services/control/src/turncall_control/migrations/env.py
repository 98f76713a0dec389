"""Run by Alembic: applies the versions over the connection that `upgrade` hands in, all in one transaction."""

from alembic import context

from turncall_control.tables import TABLES

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=TABLES[0].metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
