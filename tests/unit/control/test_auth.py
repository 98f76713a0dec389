"""Roles and what they may do; the shape of keys; headers."""

import pytest

from turncall_control import keyring
from turncall_control.auth import GRANTS, Permission, Role, in_path
from turncall_control.errors import NotFound, Unauthorised
from turncall_control.http import guard
from turncall_proto import ids
from turncall_runtime.secret import Secret

PEPPER = Secret("pepper")


def test_stronger_roles_may_do_all_that_weaker_ones_may():
    """Admin covers developer covers viewer, in rank and in permissions."""
    assert GRANTS[Role.VIEWER] < GRANTS[Role.DEVELOPER] < GRANTS[Role.ADMIN]
    ranked = [Role.ADMIN, Role.DEVELOPER, Role.VIEWER]
    for i, one in enumerate(ranked):
        for j, other in enumerate(ranked):
            assert one.covers(other) == (i <= j)


def test_no_role_is_granted_what_only_the_operator_or_a_signature_opens():
    """Platform, signed and open routes are outside the roles."""
    for granted in GRANTS.values():
        assert not granted & {Permission.OPEN, Permission.SIGNED, Permission.PLATFORM}


def test_viewer_only_reads():
    """Every permission of a viewer ends in read."""
    assert all(permission.endswith(":read") for permission in GRANTS[Role.VIEWER])


def test_new_keys_differ_and_are_found_by_their_beginning():
    """Two keys share nothing; the prefix is how the text begins; the hash is that of the text."""
    one, two = keyring.new_key(PEPPER), keyring.new_key(PEPPER)
    assert one.prefix != two.prefix
    assert one.text.reveal().startswith(one.prefix)
    assert one.hash == keyring.hashed(one.text.reveal(), PEPPER) != two.hash
    assert len(one.text.reveal()) == 63


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer tc_x", "tc_x"),
        ("bearer  tc_x ", "tc_x"),
        ("Basic tc_x", ""),
        ("tc_x", ""),
        ("", ""),
        ("Bearer", ""),
    ],
)
def test_key_in_a_header(header, key):
    """The scheme is matched without case; any other scheme holds no key."""
    assert guard.bearer(header) == key


@pytest.mark.parametrize("given", ["", "guess", "secret ", "secre", "sécret", "secret\udcff"])
def test_platform_key_is_matched_exactly(given):
    """Nothing but the key itself opens, and no key opens when none is set."""
    with pytest.raises(Unauthorised):
        guard.check_platform_key(Secret("secret"), given)
    with pytest.raises(Unauthorised):
        guard.check_platform_key(Secret(""), given)
    guard.check_platform_key(Secret("secret"), "secret")


def test_every_id_of_a_path_is_checked():
    """The id of the object and those of what it is in must be of their kinds."""
    finds = in_path("version_id", ids.VERSION, within=in_path("agent_id", ids.AGENT))
    good = {"agent_id": ids.mint(ids.AGENT), "version_id": ids.mint(ids.VERSION)}
    guard.check_ids(finds, good)
    for name in good:
        with pytest.raises(NotFound):
            guard.check_ids(finds, good | {name: ids.mint(ids.CALL)})
