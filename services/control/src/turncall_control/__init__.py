"""The control plane: REST API, carriers' webhooks, placement, projection of facts into Postgres."""

from importlib.metadata import version

__version__ = version("turncall-control")
