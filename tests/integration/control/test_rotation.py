"""Both rotations, as an operator runs them, over what a running control plane has stored."""

import asyncio
from base64 import b64encode

import pytest

from turncall_control import rotation
from turncall_control.envelope import CannotDecrypt, parse_master_keys
from turncall_control.vault import Vault

OLD = "dev:ZGV2ZWxvcG1lbnQtbWFzdGVyLWtleS0zMi1ieXRlcyE="
NEW = f"k2:{b64encode(bytes(range(32))).decode()}"


async def secrets_of(control, tenant, masters):
    """What a process with these master keys reads of the project."""
    vault = Vault(control.plane.database.pool, parse_master_keys(masters))
    rows = await control.sql(
        "select 'credential/vendor/acme', box from credentials where project_id = %(p)s union all"
        " select 'credential/signing/', box from signing_secrets where project_id = %(p)s order by 1".replace(
            "%(p)s", f"'{tenant.project_id.removeprefix('prj_')}'"
        )
    )
    return [(await vault.decrypt(tenant.project_id, purpose, bytes(box))).reveal() for purpose, box in rows]


@pytest.fixture
async def keyed(tenant):
    """A project with a credential."""
    await tenant.done("PUT", "/v1/credentials", {"kind": "vendor", "vendor": "acme", "key": "a-key-to-rotate"})
    return tenant


async def test_master_key_is_exchanged(control, keyed):
    """After the rotation the new master key alone opens everything, and the old one opens nothing."""
    before = await secrets_of(control, keyed, OLD)
    assert "a-key-to-rotate" in before
    async with control.plane.database.pool.connection() as connection:
        first = await rotation.rotate_master_key(connection, parse_master_keys(f"{NEW},{OLD}"))
        again = await rotation.rotate_master_key(connection, parse_master_keys(f"{NEW},{OLD}"))
        assert first.rewritten > 0 == again.rewritten
        assert await secrets_of(control, keyed, NEW) == before
        with pytest.raises(CannotDecrypt):
            await secrets_of(control, keyed, OLD)
        await rotation.rotate_master_key(connection, parse_master_keys(f"{OLD},{NEW}"))
    assert await secrets_of(control, keyed, OLD) == before


async def test_data_keys_are_exchanged(control, keyed):
    """Every box is written anew under a new key; the old key goes once no request can still be using it."""
    before = await secrets_of(control, keyed, OLD)
    numbers = "select number from data_keys where project_id = %s order by number"
    project = keyed.project_id.removeprefix("prj_")
    async with control.plane.database.pool.connection() as connection:
        done = await rotation.rotate_data_keys(connection, parse_master_keys(OLD))
        assert done.rewritten >= 2
        assert await control.sql(numbers, project) == [(1,), (2,)]
        assert await secrets_of(control, keyed, OLD) == before
        await control.sql("update data_keys set created_at = created_at - interval '11 minutes'")
        await rotation.rotate_data_keys(connection, parse_master_keys(OLD))
    assert (1,) not in await control.sql(numbers, project)
    assert await secrets_of(control, keyed, OLD) == before
    assert (await control.plane.wallets.open(keyed.project_id)).vendor_keys["acme"].reveal() == "a-key-to-rotate"


async def test_secrets_can_be_stored_while_keys_rotate(control, keyed):
    """Requests and a rotation at the same time lose nothing."""

    async def put(number):
        body = {"kind": "vendor", "vendor": "acme", "key": f"a-key-of-round-{number}"}
        await keyed.done("PUT", "/v1/credentials", body)

    async def rotate():
        async with control.plane.database.pool.connection() as connection:
            await rotation.rotate_data_keys(connection, parse_master_keys(OLD))

    for number in range(3):
        await asyncio.gather(put(number), rotate())
        assert f"a-key-of-round-{number}" in await secrets_of(control, keyed, OLD)
