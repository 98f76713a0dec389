"""The audit log: who changed or listened to what."""
