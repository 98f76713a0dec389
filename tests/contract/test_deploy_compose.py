"""compose.yaml says nothing that Docker, the two planes or the example environment would not understand."""

import json
import re
import shlex
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from msgspec import Struct
from msgspec.structs import fields

from turncall_control import config as control
from turncall_media.config import MediaConfig
from turncall_runtime.config import ConfigRefused, load, variable
from turncall_runtime.seal import new_keypair
from turncall_testkit import compose

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
EXAMPLE = (ROOT / "deploy" / "env" / "compose.env.example").read_text()
PAIR = new_keypair()
ANSWERS = {name: "a1b2c3d4e5f60718" for name, insists in compose.asked_for(FILE).items() if insists} | {
    "TURNCALL_PUBLIC_URL": "https://voice.example.com",
    "TURNCALL_MEDIA_URL": "wss://media.example.com",
    "TURNCALL_STREAM_KEYS": "k1:a1b2c3d4e5f60718",
    "TURNCALL_MASTER_KEYS": f"k1:{b64encode(bytes(32)).decode()}",
    "TURNCALL_SEAL_PUBLIC_KEY": PAIR.public_key,
    "TURNCALL_SEAL_PRIVATE_KEYS": PAIR.private_key.reveal(),
}
OURS: dict[str, type[Struct]] = {
    "migrate": control.MigrateConfig,
    "control": control.ControlConfig,
    "media": MediaConfig,
}


def document() -> dict[str, Any]:
    """The file with the answers put in."""
    read: dict[str, Any] = compose.interpolated(yaml.safe_load(FILE.read_text()), ANSWERS)
    return read


def services() -> dict[str, dict[str, Any]]:
    """What it says of each service."""
    read: dict[str, dict[str, Any]] = document()["services"]
    return read


def image_lines(service: str) -> list[str]:
    """The instructions of the service's Dockerfile, each on one line."""
    text = (ROOT / services()[service]["build"]["dockerfile"]).read_text()
    return [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def image_environment(service: str) -> dict[str, str]:
    """What the service's image sets by itself."""
    words = (word for line in image_lines(service) if line.startswith("ENV ") for word in shlex.split(line)[1:])
    return dict(word.split("=", 1) for word in words)


def environment(service: str) -> dict[str, str]:
    """What a process of ours finds in its environment, the image's part included."""
    return image_environment(service) | compose.services(FILE, ANSWERS)[service].environment


def described() -> Iterator[str]:
    """Every variable that the example names, set or commented out."""
    return (match[1] for match in re.finditer(r"^(?:# )?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))


def test_the_file_is_of_the_compose_specification() -> None:
    """Docker's own schema accepts it, and a slip of the pen would have been seen."""
    found = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = Draft202012Validator(json.loads(found.read_text()))
    whole = document()
    assert [error.message for error in schema.iter_errors(whole)] == []
    whole["services"]["media"]["stop_grace_periodd"] = "11m"
    assert len(list(schema.iter_errors(whole))) == 1


def test_the_example_names_what_the_file_asks_for_and_nothing_else() -> None:
    """Whoever fills the example in has filled in everything."""
    asked = compose.asked_for(FILE)
    assert sorted(described()) == sorted(asked)
    set_in_example = {line.split("=")[0] for line in EXAMPLE.splitlines() if re.match("[A-Z]", line)}
    assert {name for name, insists in asked.items() if insists} <= set_in_example


@pytest.mark.parametrize("missing", [name for name, insists in compose.asked_for(FILE).items() if insists])
def test_an_unanswered_question_stops_the_start(missing: str) -> None:
    """No secret falls back to an empty one."""
    with pytest.raises(compose.VariableMissing, match=missing):
        compose.services(FILE, ANSWERS | {missing: ""})


@pytest.mark.parametrize("service", OURS)
def test_a_service_is_told_what_it_reads(service: str) -> None:
    """No variable is misspelt, and none that a plane does not read reaches it."""
    known = {variable(field.name) for field in fields(OURS[service])}
    given = environment(service) if service != "migrate" else compose.services(FILE, ANSWERS)[service].environment
    strange = [name for name in given if name.startswith("TURNCALL_") and name not in known]
    vendor_keys = [name for name in strange if name.startswith("TURNCALL_VENDOR_KEY_")]
    assert strange == (vendor_keys if service == "control" else [])


def test_both_planes_accept_their_environment_in_production() -> None:
    """Nothing required is missing, nothing is malformed, and no development default is left."""
    serving = control.read(environment("control"))
    assert serving.env == "production"
    assert (serving.http_host, serving.http_port) == ("0.0.0.0", 8080)
    assert control.read_migrate(environment("migrate")).env == "production"
    worker = load(MediaConfig, environment("media"))
    assert worker.env == "production"
    assert (worker.media_host, worker.media_port) == ("0.0.0.0", 8090)
    assert worker.blobs_url == serving.blobs_url
    assert worker.stream_keys == serving.stream_keys
    with pytest.raises(ConfigRefused, match="TURNCALL_KEY_PEPPER"):
        control.read(environment("control") | {"TURNCALL_KEY_PEPPER": ""})


def test_what_belongs_to_one_plane_stays_there() -> None:
    """Media has no database, no carrier token and no vendor key; no process that serves has the owner's login."""
    given = compose.services(FILE, ANSWERS)
    theirs = re.compile("DATABASE|REDIS|TWILIO|PLATFORM|PEPPER|VENDOR_KEY|SEAL_PUBLIC")
    assert [name for name in given["media"].environment if theirs.search(name)] == []
    assert "TURNCALL_SEAL_PRIVATE_KEYS" not in given["control"].environment
    assert "TURNCALL_DATABASE_MIGRATE_URL" not in given["control"].environment
    assert "nats://control:" in given["control"].environment["TURNCALL_NATS_URL"]
    assert "nats://media:" in given["media"].environment["TURNCALL_NATS_URL"]


def test_dependencies_wait_for_something_that_happens() -> None:
    """Who waits for health waits for a service with a health check, who waits for an end for one that ends."""
    all_of_them = services()
    waits = [
        (wait["condition"], on) for each in all_of_them.values() for on, wait in each.get("depends_on", {}).items()
    ]
    assert waits
    for condition, on in waits:
        needs: Mapping[str, bool] = {
            "service_started": True,
            "service_healthy": "healthcheck" in all_of_them[on],
            "service_completed_successfully": all_of_them[on].get("restart") == "no",
        }
        assert needs[condition], f"{condition} of {on}"


def test_volumes_are_declared_and_mounted_files_exist() -> None:
    """No volume is declared in vain, and Docker would make an empty folder of a file that is missing."""
    mounts = [mount.split(":") for each in services().values() for mount in each.get("volumes", [])]
    named = {mount[0] for mount in mounts if len(mount) > 1 and not mount[0].startswith(".")}
    assert named == set(document()["volumes"])
    for mount in mounts:
        if mount[0].startswith("."):
            assert (ROOT / mount[0]).is_file()


@pytest.mark.parametrize("service", ["control", "media"])
def test_ports_and_volumes_are_the_images(service: str) -> None:
    """What is published is what the process listens on, and the spool is where the process writes."""
    lines = image_lines(service)
    (published,) = services()[service]["ports"]
    host, _, port = published.split(":")
    assert host == "127.0.0.1"
    assert f"EXPOSE {port}" in lines
    assert any(line.startswith("HEALTHCHECK") and f"127.0.0.1:{port}/health" in line for line in lines)
    spool = [line.split()[1] for line in lines if line.startswith("VOLUME")]
    assert services()[service].get("volumes", []) == spool
    assert image_environment(service).get("TURNCALL_SPOOL_DIR") == (spool[0] if spool else None)


def test_a_worker_is_not_killed_while_it_drains() -> None:
    """Docker waits longer than the worker's drain and its wrapping up take together."""
    from turncall_media.app import FLUSH_S, WRAP_UP_S

    minutes = int(services()["media"]["stop_grace_period"].removesuffix("m"))
    assert minutes * 60 > load(MediaConfig, environment("media")).drain_s + WRAP_UP_S + FLUSH_S


def test_the_media_image_asks_for_extras_that_exist() -> None:
    """Its default vendors are optional parts of the package."""
    (vendors,) = (line.split('"')[1].split() for line in image_lines("media") if line.startswith("ARG VENDORS"))
    project = tomllib.loads((ROOT / "services" / "media" / "pyproject.toml").read_text())["project"]
    assert set(vendors) <= project["optional-dependencies"].keys()


def test_two_services_from_one_image_are_built_alike() -> None:
    """What migrates is what serves."""
    read = services()
    assert read["migrate"]["build"] == read["control"]["build"]
    assert read["migrate"]["image"] == read["control"]["image"]
