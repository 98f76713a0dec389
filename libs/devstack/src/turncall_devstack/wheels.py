"""Where the wheels put the servers' programs."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


class MissingWheel(Exception):
    """A server's program is not installed, or there is none for this platform."""


def program(package: str, ending: str) -> Path:
    """The installed file of ``package`` whose path ends with ``ending``. Raises `MissingWheel`."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise MissingWheel(f"the development stack needs the wheel {package}: run `make setup`") from error
    for file in files:
        path = Path(str(file.locate())).resolve()
        if str(file).endswith(ending) and path.is_file():
            return path
    raise MissingWheel(f"the wheel {package} holds no {ending} for this platform; see libs/devstack/README.md")
