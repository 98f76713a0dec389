"""The schema's history, by Alembic; inside the package, so that an installed control plane brings it along."""
