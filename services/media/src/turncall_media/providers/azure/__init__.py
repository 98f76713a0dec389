"""Microsoft Azure's speech services."""
