"""Postgres: the two logins, sessions bound to a project, columns that hold contract types."""
