"""Test suites: conversations that are had with a version of an agent, and what is expected of it."""
