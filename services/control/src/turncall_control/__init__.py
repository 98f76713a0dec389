"""The control plane: REST API, carriers' webhooks, placement, projection of facts into Postgres."""
