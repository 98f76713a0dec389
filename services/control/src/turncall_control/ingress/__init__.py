"""Where carriers reach us: their webhooks."""
