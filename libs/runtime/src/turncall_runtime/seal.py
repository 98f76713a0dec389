"""Sealed boxes: what one side encrypts to a public key, only the holder of a private key opens (X25519, libsodium).

``python -m turncall_runtime.seal`` prints a new pair as the two planes' environments want it.
"""

import os
import sys
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from turncall_runtime.secret import Secret

KEY_BYTES = 32
"""Length of an X25519 key, public or private (RFC 7748)."""


SEALED_AT_MOST = 10_000
"""Texts that a `Sealer` keeps."""


class SealError(Exception):
    """Something about sealing went wrong; the message holds neither key nor plaintext."""


class BadKey(SealError):
    """A key is not 32 bytes in base64."""


class CannotOpen(SealError):
    """No live private key opens the text: it was sealed to a retired key, cut, or altered."""


class Keypair(Struct, frozen=True, kw_only=True):
    """A new pair, both in base64. Give the public key to those who seal and the private one to those who open."""

    public_key: str
    private_key: Secret


def new_keypair() -> Keypair:
    """A random pair."""
    private = PrivateKey.generate()
    return Keypair(
        public_key=b64encode(bytes(private.public_key)).decode(),
        private_key=Secret(b64encode(bytes(private)).decode()),
    )


def public_key_of(private_key: Secret) -> str:
    """The public half, in base64. Raises `BadKey`."""
    return b64encode(bytes(PrivateKey(_key_bytes(private_key.reveal(), "private")).public_key)).decode()


def seal(plaintext: str, public_key: str) -> str:
    """``plaintext`` sealed to ``public_key``, in base64; 48 bytes longer, and different each time. Raises `BadKey`."""
    box = SealedBox(PublicKey(_key_bytes(public_key, "public")))
    return b64encode(box.encrypt(plaintext.encode())).decode()


class Sealer:
    """Seals to one public key. A text that goes by a name is sealed once: the next one to ask gets the same.

    So a credential costs its call a hash, not the 52 us of an elliptic curve. It shows that two messages hold the same
    credential, by the name that they tell anyway, and not that two credentials are equal. Keeps no plaintext. Raises
    `BadKey`.
    """

    def __init__(self, public_key: str) -> None:
        self._box = SealedBox(PublicKey(_key_bytes(public_key, "public")))
        self._key = os.urandom(32)
        self._sealed: OrderedDict[bytes, str] = OrderedDict()

    def seal(self, name: str, plaintext: str) -> str:
        """``plaintext``, which goes by ``name``, sealed as `seal` does."""
        known_by = blake2b(f"{name}\0{plaintext}".encode(), key=self._key).digest()
        sealed = self._sealed.get(known_by)
        if sealed is None:
            sealed = self._sealed[known_by] = b64encode(self._box.encrypt(plaintext.encode())).decode()
            while len(self._sealed) > SEALED_AT_MOST:
                self._sealed.popitem(last=False)
        return sealed


def open_sealed(sealed: str, private_keys: Sequence[Secret]) -> Secret:
    """What was sealed to one of ``private_keys``, tried in order: two live at a time while they rotate.

    Raises `CannotOpen` when none fits, `BadKey` when a key is malformed.
    """
    boxes = [SealedBox(PrivateKey(_key_bytes(key.reveal(), "private"))) for key in private_keys]
    try:
        data = b64decode(sealed, validate=True)
    except Base64Error as error:
        raise CannotOpen("the sealed text is not base64") from error
    for box in boxes:
        try:
            return Secret(box.decrypt(data).decode())
        except (CryptoError, UnicodeDecodeError):
            continue
    raise CannotOpen(f"none of {len(boxes)} private keys opens it; was it sealed to a key that has been retired?")


def _key_bytes(text: str, kind: str) -> bytes:
    try:
        key = b64decode(text, validate=True)
    except Base64Error as error:
        raise BadKey(f"the {kind} key is not base64") from error
    if len(key) != KEY_BYTES:
        raise BadKey(f"the {kind} key has {len(key)} bytes instead of {KEY_BYTES}")
    return key


if __name__ == "__main__":
    pair = new_keypair()
    sys.stdout.write(f"TURNCALL_SEAL_PUBLIC_KEY={pair.public_key}\n")
    sys.stdout.write(f"TURNCALL_SEAL_PRIVATE_KEYS={pair.private_key.reveal()}\n")
