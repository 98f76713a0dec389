"""The vault over a real database: keys of projects, shredding, an absent Postgres."""

import pytest
from psycopg.errors import OperationalError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from turncall_control.db.engine import in_project
from turncall_control.envelope import CannotDecrypt, parse_master_keys
from turncall_control.vault import REMEMBER_S, Vault
from turncall_runtime.secret import Secret

SECRET = Secret("whsec_of_this_test")


class Clock:
    """Seconds that a test owns."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


def a_vault(control, clock=None):
    """A vault as another process would have it: with nothing remembered."""
    return Vault(control.plane.database.pool, control.config.master_key_list, clock or Clock())


async def test_secret_is_read_by_any_replica(control, tenant):
    """What one process encrypted opens in another, for the same project and purpose, and nothing else."""
    box = await control.plane.vault.encrypt(tenant.project_id, "webhook/1", SECRET)
    assert await a_vault(control).decrypt(tenant.project_id, "webhook/1", box) == SECRET
    with pytest.raises(CannotDecrypt):
        await control.plane.vault.decrypt(tenant.project_id, "webhook/2", box)
    other = await control.tenant()
    await control.plane.vault.encrypt(other.project_id, "webhook/1", SECRET)
    with pytest.raises(CannotDecrypt):
        await control.plane.vault.decrypt(other.project_id, "webhook/1", box)


async def test_users_requests_cannot_read_keys(control, tenant):
    """The login of the API has no right on the wrapped keys, its own project's included."""
    await control.plane.vault.encrypt(tenant.project_id, "webhook/1", SECRET)
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with in_project(control.plane.database, tenant.project_id) as session:
            await session.execute(text("select * from data_keys"))


async def test_shredded_secret_is_gone_everywhere(control, tenant):
    """Here at once, on a replica that remembered the key within the promised time."""
    clock = Clock()
    replica = a_vault(control, clock)
    box = await control.plane.vault.encrypt(tenant.project_id, "webhook/1", SECRET)
    await replica.decrypt(tenant.project_id, "webhook/1", box)
    await control.plane.vault.decrypt(tenant.project_id, "webhook/1", box)
    await control.plane.vault.shred(tenant.project_id)
    with pytest.raises(CannotDecrypt, match="is gone"):
        await control.plane.vault.decrypt(tenant.project_id, "webhook/1", box)
    clock.now_s += REMEMBER_S
    with pytest.raises(CannotDecrypt, match="is gone"):
        await replica.decrypt(tenant.project_id, "webhook/1", box)


async def test_deleted_project_gets_no_new_key(control, tenant):
    """Nothing can be encrypted for a project that is gone and whose keys were shredded."""
    await control.plane.vault.shred(tenant.project_id)
    await control.sql("update projects set deleted_at = now() where id = %s", tenant.project_id.removeprefix("prj_"))
    with pytest.raises(CannotDecrypt, match="is gone"):
        await control.plane.vault.encrypt(tenant.project_id, "webhook/1", SECRET)


async def test_known_secret_opens_while_postgres_is_away(control, tenant, monkeypatch):
    """Calls go on: the wrapped key of a project that was in use is remembered for as long as it takes."""
    clock = Clock()
    replica = a_vault(control, clock)
    box = await replica.encrypt(tenant.project_id, "webhook/1", SECRET)
    await replica.decrypt(tenant.project_id, "webhook/1", box)
    clock.now_s += 10 * REMEMBER_S

    class Away:
        def connection(self):
            raise OperationalError("the server is away")

    monkeypatch.setattr(replica, "_pool", Away())
    assert await replica.decrypt(tenant.project_id, "webhook/1", box) == SECRET


async def test_secret_without_its_master_key_stays_closed(control, tenant):
    """A process that lost the master key says which one it needs."""
    box = await control.plane.vault.encrypt(tenant.project_id, "webhook/1", SECRET)
    stranger = Vault(control.plane.database.pool, parse_master_keys("other:" + "A" * 43 + "="))
    with pytest.raises(CannotDecrypt, match="the master key dev is not in"):
        await stranger.decrypt(tenant.project_id, "webhook/1", box)
