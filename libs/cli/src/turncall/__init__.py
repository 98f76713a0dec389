"""The turncall command and the typed client of the REST API."""
