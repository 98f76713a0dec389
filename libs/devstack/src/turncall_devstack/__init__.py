"""Postgres with pgvector, NATS, Valkey and S3 from wheels, for development and tests."""
