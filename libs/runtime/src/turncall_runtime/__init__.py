"""What every process needs: configuration, logs, privacy, metrics, sealing, lifecycle."""
