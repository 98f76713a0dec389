"""The secrets of one development stack: made once, kept in its folder."""

import os
from pathlib import Path
from secrets import token_hex

from msgspec import Struct, json

from turncall_runtime.seal import new_keypair


class Keys(Struct, frozen=True, kw_only=True):
    """Random secrets for one folder. They outlive a restart, because the data is bound to them."""

    migrate_password: str
    api_password: str
    system_password: str
    s3_access_key: str
    s3_secret_key: str
    platform_key: str
    key_pepper: str
    stream_secret: str
    seal_public_key: str
    seal_private_key: str


def keys_of(folder: Path) -> Keys:
    """The folder's keys; made and written, readable by their owner only, where there are none."""
    path = folder / "keys.json"
    if path.exists():
        return json.decode(path.read_bytes(), type=Keys)
    keys = new_keys()
    draft = path.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(json.format(json.encode(keys)))
    draft.rename(path)
    return keys


def new_keys() -> Keys:
    """Random keys that are kept nowhere."""
    pair = new_keypair()
    return Keys(
        migrate_password=token_hex(16),
        api_password=token_hex(16),
        system_password=token_hex(16),
        s3_access_key=token_hex(10),
        s3_secret_key=token_hex(20),
        platform_key=token_hex(24),
        key_pepper=token_hex(24),
        stream_secret=token_hex(24),
        seal_public_key=pair.public_key,
        seal_private_key=pair.private_key.reveal(),
    )
