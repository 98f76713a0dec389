"""News of changed configuration: from the outbox to JetStream, and from there to the caches of every replica."""
