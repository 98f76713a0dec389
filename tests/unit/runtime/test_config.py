"""From the environment to a frozen struct."""

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from turncall_runtime.config import ConfigRefused, Development, Environment, Prefixed, env_example, load, secrets_of
from turncall_runtime.secret import Secret


class Config(Struct, frozen=True, kw_only=True):
    env: Environment = "production"
    http_port: Annotated[int, Meta(ge=1, le=65535, description="TCP port of the API.")] = 8080
    nats_url: Annotated[str, Meta(description="Where NATS is.")]
    pepper: Annotated[Secret, Development("dev-pepper"), Meta(description="Hashed with every key.")]
    vendor_keys: Annotated[dict[str, Secret], Prefixed("TURNCALL_VENDOR_KEY_")]
    pools: tuple[str, ...] = ("calls", "text")
    lag_s: float = 0.5
    is_open: bool = False
    token: Secret | None = None


ENOUGH = {"TURNCALL_ENV": "development", "TURNCALL_NATS_URL": "nats://a"}


def test_defaults_fill_what_is_unset() -> None:
    """With the required variables alone, everything else has its default."""
    config = load(Config, ENOUGH)

    assert config == Config(env="development", nats_url="nats://a", pepper=Secret("dev-pepper"), vendor_keys={})


def test_values_take_the_type_of_their_field() -> None:
    """Numbers, booleans, lists and secrets are made of text."""
    config = load(
        Config,
        ENOUGH
        | {
            "TURNCALL_HTTP_PORT": " 99 ",
            "TURNCALL_POOLS": "calls, ,text,",
            "TURNCALL_LAG_S": "1.5",
            "TURNCALL_IS_OPEN": "true",
            "TURNCALL_TOKEN": "t",
        },
    )

    assert (config.http_port, config.pools, config.lag_s, config.is_open) == (99, ("calls", "text"), 1.5, True)
    assert config.token == Secret("t")


def test_prefixed_variables_become_a_mapping() -> None:
    """Each variable with the prefix is one entry, its name in lower case; empty ones are none."""
    config = load(Config, ENOUGH | {"TURNCALL_VENDOR_KEY_DEEPGRAM": "dg", "TURNCALL_VENDOR_KEY_OPENAI": ""})

    assert config.vendor_keys == {"deepgram": Secret("dg")}


def test_every_fault_is_named_at_once() -> None:
    """One error tells an operator all that is missing, malformed and too public."""
    faulty = {"TURNCALL_HTTP_PORT": "0", "TURNCALL_LAG_S": "soon", "TURNCALL_NATS_URL": " "}

    with pytest.raises(ConfigRefused) as refused:
        load(Config, faulty)

    named = [problem.split()[0] for problem in refused.value.problems]
    assert named == ["TURNCALL_HTTP_PORT", "TURNCALL_NATS_URL", "TURNCALL_PEPPER", "TURNCALL_LAG_S"]
    assert "Where NATS is." in str(refused.value)


@pytest.mark.parametrize("mode", [{"TURNCALL_ENV": "production"}, {"TURNCALL_ENV": ""}, {}])
@pytest.mark.parametrize("pepper", [{}, {"TURNCALL_PEPPER": "dev-pepper"}])
def test_production_refuses_development_secrets(mode: dict[str, str], pepper: dict[str, str]) -> None:
    """What is public is refused in production, defaulted or copied; an unset mode means production."""
    with pytest.raises(ConfigRefused, match="TURNCALL_PEPPER") as refused:
        load(Config, {"TURNCALL_NATS_URL": "nats://a"} | mode | pepper)

    assert "dev-pepper" not in str(refused.value)


def test_unknown_modes_are_as_strict_as_production() -> None:
    """A misspelt mode neither passes nor weakens anything."""
    with pytest.raises(ConfigRefused) as refused:
        load(Config, ENOUGH | {"TURNCALL_ENV": "developement"})

    assert [problem.split()[0] for problem in refused.value.problems] == ["TURNCALL_ENV", "TURNCALL_PEPPER"]


def test_malformed_secrets_are_not_shown() -> None:
    """An error about a variable never repeats a secret's value."""

    class Strict(Struct, frozen=True):
        pair: Annotated[tuple[Secret, Secret], Meta(description="Two.")]

    with pytest.raises(ConfigRefused) as refused:
        load(Strict, {"TURNCALL_PAIR": "hunter2"})

    assert "hunter2" not in str(refused.value)


def test_variables_of_the_other_plane_are_left_alone() -> None:
    """Both planes may be started from one file."""
    assert load(Config, ENOUGH | {"TURNCALL_MEDIA_PORT": "x"}).http_port == 8080


def test_the_example_file_makes_a_configuration_again() -> None:
    """The example names each variable with its meaning, and what it states is what the defaults are."""
    text = env_example(Config)
    stated = dict(line.removeprefix("# ").split("=", 1) for line in text.splitlines() if "=" in line.split(" ", 2)[-1])

    assert "# TCP port of the API.\n# TURNCALL_HTTP_PORT=8080\n" in text
    assert "# Required.\nTURNCALL_NATS_URL=\n" in text
    assert "# Hashed with every key.\n" in text
    stated = {name: value for name, value in stated.items() if name.startswith("TURNCALL_") and "<" not in name}
    assert load(Config, stated | ENOUGH) == load(Config, ENOUGH)


def test_secrets_of_a_configuration_are_found_at_any_depth() -> None:
    """What the logs must hide is in tuples and mappings too."""
    config = load(Config, ENOUGH | {"TURNCALL_VENDOR_KEY_A": "one", "TURNCALL_TOKEN": "two"})

    assert sorted(secret.reveal() for secret in secrets_of(config)) == ["dev-pepper", "one", "two"]
