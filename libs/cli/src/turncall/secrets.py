"""The secrets of a development installation: made once, kept in its folder, so that its data outlives a restart."""

import secrets
from pathlib import Path

import msgspec

from turncall_runtime.seal import new_keypair

FILE_NAME = "secrets.json"


class InstallationSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What the two planes share or keep, in the forms their environments expect."""

    platform_key: str
    key_pepper: str
    stream_keys: str
    seal_public_key: str
    seal_private_key: str
    carrier_sid: str
    carrier_token: str


def kept_in(folder: Path) -> InstallationSecrets:
    """The folder's secrets, made on first use in a file that only its owner reads."""
    path = folder / FILE_NAME
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=InstallationSecrets)
    pair = new_keypair()
    made = InstallationSecrets(
        platform_key=secrets.token_hex(24),
        key_pepper=secrets.token_hex(24),
        stream_keys=f"k1:{secrets.token_hex(24)}",
        seal_public_key=pair.public_key,
        seal_private_key=pair.private_key.reveal(),
        carrier_sid=f"AC{secrets.token_hex(16)}",
        carrier_token=secrets.token_hex(16),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(made))
    return made
