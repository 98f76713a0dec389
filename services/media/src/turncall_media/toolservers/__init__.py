"""MCP servers as a source of tools: connected for one call, listed before the model is first asked."""
