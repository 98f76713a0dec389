"""Projects: the boundary between tenants."""
