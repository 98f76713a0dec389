"""Bringing a database to the newest schema."""

from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from turncall_runtime.secret import Secret

_LOCK: Final = 7_203_551_064
"""Any number: whoever migrates holds it, a second one waits and then finds nothing to do."""


def upgrade(url: Secret, revision: str = "head") -> None:
    """Applies what is missing, as the owner of the schema. Safe to run from many processes at once."""
    engine = create_engine(make_url(url.reveal()).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        command.upgrade(configuration(connection), revision)


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for the versions in this package."""
    settings = Config()
    settings.set_main_option("script_location", str(files("turncall_control.migrations")))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings
