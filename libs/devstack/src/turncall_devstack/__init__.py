"""Postgres with pgvector, NATS, Valkey and S3 from wheels, for development and tests."""

from turncall_devstack.databases import DatabaseUrls, create_database, drop_database
from turncall_devstack.environment import control_environment, media_environment
from turncall_devstack.server import Server, ServerFailed
from turncall_devstack.stack import DevStack, FolderInUse, Urls
from turncall_devstack.wheels import MissingWheel

__all__ = [
    "DatabaseUrls",
    "DevStack",
    "FolderInUse",
    "MissingWheel",
    "Server",
    "ServerFailed",
    "Urls",
    "control_environment",
    "create_database",
    "drop_database",
    "media_environment",
]
