"""Secrets at rest: one master key, and what is sealed under it.

The master key has 32 octets. It comes from the environment, from a systemd credential or from a file that
only the station's own user can read, in this order. Passwords in the ledger are sealed with it (Fernet:
AES-CBC with HMAC); private keys are PKCS#8 encrypted under a passphrase that is derived from it. It is
never written anywhere else, and nothing here shows a secret in a ``repr`` or in a message.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oftp2d.errors import OperatorError

MASTER_KEY_OCTETS = 32
ENVIRONMENT = "OFTP2D_MASTER_KEY"
CREDENTIAL = "oftp2d-master-key"
FILE_NAME = "master.key"

_Text = TypeVar("_Text", str, bytes)


class Secret(Generic[_Text]):
    """A text that shows itself only when asked to: in ``repr``, ``str`` and formats it is ``<secret>``."""

    __slots__ = ("_value",)
    _value: _Text

    def __init__(self, value: _Text) -> None:
        self._value = value

    def reveal(self) -> _Text:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Vault:
    """Seals and opens under one master key."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_OCTETS:
            raise OperatorError(
                f"the master key has {len(master_key)} octets instead of {MASTER_KEY_OCTETS}",
                "give the key that 'oftp2d init' made, or 32 octets in base64",
            )
        self._fernet = Fernet(urlsafe_b64encode(_derived(master_key, b"oftp2d sealed values")))
        self._passphrase = b64encode(_derived(master_key, b"oftp2d private keys"))
        self._digest_key = _derived(master_key, b"oftp2d keyed digests")

    @classmethod
    def create(cls, path: Path) -> Vault:
        """Make a new master key and write it to ``path``, readable by the owner alone; never overwrites."""
        master_key = os.urandom(MASTER_KEY_OCTETS)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise OperatorError(f"{path} is there already", "keep it: everything sealed so far depends on it") from None
        except OSError as error:
            raise OperatorError(f"cannot write {path} ({error.strerror})", "check the folder") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(master_key)
            file.flush()
            os.fsync(file.fileno())
        return cls(master_key)

    @classmethod
    def open(cls, path: Path) -> Vault:
        """Read the master key file; refuses one that others than its owner can read."""
        try:
            mode = path.stat().st_mode
            content = path.read_bytes()
        except OSError as error:
            raise OperatorError(
                f"cannot read the master key {path} ({error.strerror})",
                f"restore it from the copy you keep, or set {ENVIRONMENT}",
            ) from None
        if mode & 0o077:
            raise OperatorError(f"others can read the master key {path}", f"run 'chmod 600 {path}'")
        return cls(_key(content))

    @classmethod
    def find(cls, home: Path, environ: Mapping[str, str]) -> Vault:
        """The vault of a station: environment before systemd credential before ``master.key`` in its home."""
        if given := environ.get(ENVIRONMENT):
            return cls(_key(given.encode()))
        if folder := environ.get("CREDENTIALS_DIRECTORY"):
            credential = Path(folder) / CREDENTIAL
            if credential.exists():
                # systemd itself guards the folder; some versions make the file readable by the unit's group.
                return cls(_key(credential.read_bytes()))
        return cls.open(home / FILE_NAME)

    def seal(self, octets: bytes) -> bytes:
        """Encrypt and authenticate."""
        return self._fernet.encrypt(octets)

    def open_sealed(self, octets: bytes) -> bytes:
        """The inverse of :meth:`seal`; fails when another master key sealed it or it was changed."""
        try:
            return self._fernet.decrypt(octets)
        except InvalidToken:
            raise OperatorError(
                "a sealed value does not open with this master key",
                "use the master key with which the station was made",
            ) from None

    def digest(self, octets: bytes) -> str:
        """A keyed digest (HMAC-SHA256, lower-case hexadecimal): without the master key nobody can try values against it."""
        return hmac.digest(self._digest_key, octets, "sha256").hex()

    def passphrase(self) -> bytes:
        """The passphrase for private keys at rest (PKCS#8)."""
        return self._passphrase


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master_key)


def _key(content: bytes) -> bytes:
    """32 octets as they are, or in base64 with or without the safe alphabet."""
    if len(content) == MASTER_KEY_OCTETS:
        return content
    try:
        return b64decode(content.strip(), altchars=b"-_" if b"-" in content or b"_" in content else None)
    except (Base64Error, ValueError):
        return b""
