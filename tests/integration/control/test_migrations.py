"""The schema: what the migrations make is what the models say, however often and however many run them."""

import asyncio
from secrets import token_hex

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from turncall_control.migrations.upgrade import upgrade
from turncall_control.tables import TABLES
from turncall_devstack import create_database, drop_database
from turncall_runtime.secret import Secret


@pytest.fixture
async def empty(stack):
    """A database without tables."""
    name = f"empty_{token_hex(6)}"
    yield await create_database(stack.urls.database, name)
    await drop_database(stack.urls.database, name)


async def test_models_and_migrations_agree(database):
    """Alembic finds nothing to do: no table, column, index or key exists on one side only."""

    def differences():
        engine = create_engine(make_url(database.migrate).set(drivername="postgresql+psycopg"), poolclass=NullPool)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return compare_metadata(context, TABLES[0].metadata)

    assert await asyncio.to_thread(differences) == []


async def test_many_processes_may_migrate_at_once(empty):
    """Replicas that start together make the schema once, and a later run changes nothing."""
    url = Secret(empty.migrate)
    await asyncio.gather(*(asyncio.to_thread(upgrade, url) for _ in range(3)))
    await asyncio.to_thread(upgrade, url)
