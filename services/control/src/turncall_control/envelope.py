"""Envelope encryption without a database: master keys wrap data keys, data keys encrypt secrets (AES-256-GCM).

A *box* is one encrypted secret with all that is needed to find its key: format, number of the data key, purpose, nonce,
ciphertext. What stands in clear is authenticated, and so is the project, which is not written down: a box that was
copied to another project or another purpose does not open.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from secrets import token_bytes
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from turncall_runtime.secret import Secret

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Random for each encryption (NIST SP 800-38D, 8.2.2); a data key encrypts far fewer than 2**32 secrets."""
MAX_PURPOSE_BYTES: Final = 255

_FORMAT: Final = 1
_PURPOSE_AT: Final = 6
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


class CannotDecrypt(Exception):
    """No key opens it: altered, of another project or purpose, or its key is gone. Neither key nor text is told."""


class MasterKey(Struct, frozen=True, kw_only=True):
    """One key of the operator's; ``key`` is its 32 bytes in base64."""

    key_id: str
    key: Secret

    @property
    def cipher(self) -> AESGCM:
        """Ready to wrap and unwrap."""
        return AESGCM(b64decode(self.key.reveal()))


class WrappedKey(Struct, frozen=True, kw_only=True):
    """A project's data key, number ``number`` of it, under the master key ``master``: fit to be stored."""

    number: int
    master: str
    wrapped: bytes


def parse_master_keys(text: str) -> tuple[MasterKey, ...]:
    """The keys of ``id:base64,id:base64``, the wrapping one first. Raises `ValueError`, which holds no key."""
    keys: list[MasterKey] = []
    for part in text.split(","):
        key_id, colon, encoded = part.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise ValueError("each key is written id:base64, the id of letters, digits, - and _")
        try:
            size_bytes = len(b64decode(encoded, validate=True))
        except Base64Error as error:
            raise ValueError(f"the key {key_id} is not base64") from error
        if size_bytes != KEY_BYTES:
            raise ValueError(f"the key {key_id} has {size_bytes} bytes instead of {KEY_BYTES}: openssl rand -base64 32")
        keys.append(MasterKey(key_id=key_id, key=Secret(encoded)))
    if len({key.key_id for key in keys}) != len(keys):
        raise ValueError("two keys have the same id")
    return tuple(keys)


def new_data_key() -> bytes:
    """32 random bytes."""
    return token_bytes(KEY_BYTES)


def wrap(masters: Sequence[MasterKey], project: UUID, number: int, data_key: bytes) -> WrappedKey:
    """A data key under the first master key, bound to its project and number."""
    nonce = token_bytes(NONCE_BYTES)
    wrapped = nonce + masters[0].cipher.encrypt(nonce, data_key, _of_key(project, number))
    return WrappedKey(number=number, master=masters[0].key_id, wrapped=wrapped)


def unwrap(masters: Sequence[MasterKey], project: UUID, wrapped: WrappedKey) -> bytes:
    """The data key itself. Raises `CannotDecrypt`, also when its master key is not among ``masters``."""
    master = next((key for key in masters if key.key_id == wrapped.master), None)
    if master is None:
        raise CannotDecrypt(f"the master key {wrapped.master} is not in TURNCALL_MASTER_KEYS")
    nonce, text = wrapped.wrapped[:NONCE_BYTES], wrapped.wrapped[NONCE_BYTES:]
    try:
        return master.cipher.decrypt(nonce, text, _of_key(project, wrapped.number))
    except (InvalidTag, ValueError) as error:
        raise CannotDecrypt(f"data key {wrapped.number} does not open with the master key {wrapped.master}") from error


def encrypt(data_key: bytes, number: int, project: UUID, purpose: str, secret: Secret) -> bytes:
    """A box. ``purpose`` says what the secret is for, 255 bytes at most; it stands in clear in the box."""
    written = purpose.encode()
    if len(written) > MAX_PURPOSE_BYTES:
        raise ValueError(f"a purpose has {MAX_PURPOSE_BYTES} bytes at most")
    head = bytes([_FORMAT]) + number.to_bytes(4) + bytes([len(written)]) + written
    nonce = token_bytes(NONCE_BYTES)
    return head + nonce + AESGCM(data_key).encrypt(nonce, secret.reveal().encode(), head + project.bytes)


def decrypt(data_key: bytes, project: UUID, box: bytes) -> Secret:
    """What is in a box. Whether its purpose is the wanted one is for the caller to see. Raises `CannotDecrypt`."""
    head_end = _head_end(box)
    nonce, text = box[head_end : head_end + NONCE_BYTES], box[head_end + NONCE_BYTES :]
    try:
        return Secret(AESGCM(data_key).decrypt(nonce, text, box[:head_end] + project.bytes).decode())
    except (InvalidTag, ValueError) as error:
        raise CannotDecrypt("the box was altered, or belongs to another project") from error


def key_number(box: bytes) -> int:
    """The number of the data key that a box is under. Raises `CannotDecrypt`."""
    _head_end(box)
    return int.from_bytes(box[1:5])


def purpose_of(box: bytes) -> str:
    """What a box is for, as it says itself: proven only by opening it. Raises `CannotDecrypt`."""
    return box[_PURPOSE_AT : _head_end(box)].decode("utf-8", "replace")


def _head_end(box: bytes) -> int:
    if len(box) < _PURPOSE_AT or box[0] != _FORMAT or len(box) < _PURPOSE_AT + box[5] + NONCE_BYTES:
        raise CannotDecrypt("this is not a box")
    return _PURPOSE_AT + box[5]


def _of_key(project: UUID, number: int) -> bytes:
    return b"data key" + project.bytes + number.to_bytes(4)
