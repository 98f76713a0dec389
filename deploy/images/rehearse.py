"""Builds what the images hold, without Docker, and looks inside: ``python deploy/images/rehearse.py``.

For each Dockerfile the build context is copied as .dockerignore filters it, the file's own uv command installs into a
folder, and the result must run and hold what it should and nothing else. Takes about a minute.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
UV: Final = ROOT / ".tools" / "bin" / "uv"
MIB: Final = 1024 * 1024

FOREIGN: Final = {
    "control": ("pipecat", "onnxruntime", "turncall_media", "pytest", "mypy"),
    "media": ("sqlalchemy", "litestar", "psycopg", "redis", "twilio", "alembic", "turncall_control", "pytest", "mypy"),
}
PARTS: Final = {
    "control": (
        "turncall_control/migrations/versions/v0001_foundation.py",
        "turncall_control/migrations/env.py",
        "turncall_control/docs/index.html",
        "turncall_control/docs/start.js",
        "turncall_proto/schema/vendors.json",
        "turncall_proto/schema/events.json",
    ),
    "media": (
        "turncall_proto/schema/vendors.json",
        "turncall_media/providers/local/stt.py",
        "turncall_media/providers/openai/llm.py",
        "turncall_media/providers/deepgram/stt.py",
        "turncall_media/tools/webhook.py",
    ),
}
"""What is found at run time and imported by nobody, so that only its absence would tell."""

WRITTEN: Final = {"control": "turncall_proto/schema/openapi.json", "media": "turncall_proto/schema/vendors.json"}
"""What a plane's ``schema`` writes from every route, or every vendor, that it finds installed."""


class Lacking(Exception):
    """An image would not be what it should."""


def is_ignored(path: str, rules: Sequence[str]) -> bool:
    """Whether ``.dockerignore`` keeps a file out of the context; the last rule that fits it or a folder above says."""
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    ignored = False
    for rule in rules:
        pattern = re.compile(_expression(rule.removeprefix("!")))
        if any(pattern.fullmatch(candidate) for candidate in above):
            ignored = not rule.startswith("!")
    return ignored


def _expression(pattern: str) -> str:
    """A pattern of .dockerignore as a regular expression (https://docs.docker.com/build/concepts/context/)."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(piece, re.escape(piece)) for piece in pieces)


def copy_context(target: Path) -> None:
    """What a build would be sent: the files that the checkout keeps, less what .dockerignore names."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for folder, names, files in ROOT.walk():
        place = folder.relative_to(ROOT)
        if place == Path():
            names[:] = [
                name for name in names if not name.startswith(".")
            ]  # environments and caches: long, and ignored
        for name in files:
            path = (place / name).as_posix()
            if not is_ignored(path, rules):
                (target / place).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target / path)


def sync_command(dockerfile: str) -> list[str]:
    """The words of the Dockerfile's ``uv sync``, with the extras that its default VENDORS make."""
    text = dockerfile.replace("\\\n", " ")
    found = re.search(r"uv (sync --locked [^\n]*)", text)
    if found is None:
        raise Lacking("the Dockerfile has no uv sync --locked")
    default = re.search(r'ARG VENDORS="([^"]*)"', text)
    vendors = default[1].split() if default else []
    extras = " ".join(f"--extra {vendor}" for vendor in vendors)
    return found[1].replace("$extras", extras).split()


def rehearse(plane: str, folder: Path) -> str:
    """Installs a plane as its image would and returns one line about it. Raises `Lacking`."""
    context, installed = folder / "context", folder / "installed"
    copy_context(context)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (dockerfile := _dockerfile(plane)), re.MULTILINE)
    for name in " ".join(copied).split():
        if not (context / name).exists():
            raise Lacking(f"{plane}: COPY {name} finds nothing in the context")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(installed), "UV_PYTHON": sys.executable}
    _run([str(UV), *sync_command(dockerfile), "--quiet"], context, environment)
    shutil.rmtree(context)  # an image has no sources: what runs below runs from the wheels
    site = next(installed.glob("lib/python*/site-packages"))
    for name in FOREIGN[plane]:
        if (site / name).exists():
            raise Lacking(f"{plane}: {name} does not belong into this image")
    for name in PARTS[plane]:
        if not (site / name).is_file():
            raise Lacking(f"{plane}: {name} is not in the wheel")
    bare = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}  # as the user of the image
    example = _run([str(installed / "bin/python"), "-m", f"turncall_{plane}", "env-example"], folder, bare)
    if example != (ROOT / "deploy" / "env" / f"{plane}.env.example").read_text():
        raise Lacking(f"{plane}: the installed package reads another environment than deploy/env says")
    _run([str(installed / "bin/python"), "-m", f"turncall_{plane}", "schema"], folder, bare)
    if (site / WRITTEN[plane]).read_bytes() != (ROOT / "proto" / "src" / WRITTEN[plane]).read_bytes():
        raise Lacking(f"{plane}: the installed package makes another {WRITTEN[plane]} than the checkout")
    _run([str(installed / "bin/python"), "-m", "turncall_runtime.seal"], folder, bare)
    size = sum(file.stat().st_size for file in installed.rglob("*") if file.is_file() and not file.is_symlink())
    return f"{plane}: {len(list(site.glob('*.dist-info')))} packages, {size / MIB:.0f} MiB beside Python itself"


def _dockerfile(plane: str) -> str:
    return (ROOT / "deploy" / "images" / f"{plane}.Dockerfile").read_text()


def _run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Lacking(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def main() -> int:
    """Rehearses both images; 1 when one would not be right."""
    for plane in FOREIGN:
        with tempfile.TemporaryDirectory(prefix=f"turncall-{plane}-") as folder:
            try:
                sys.stdout.write(rehearse(plane, Path(folder)) + "\n")
            except Lacking as lacking:
                sys.stderr.write(f"{lacking}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
