"""Decryption as octets come, by the right one of several keys (RFC 5652 section 6.3).

**Which key is the right one.** The keys that recipients name by issuer and serial number or by key identifier are tried
first, then every other one. That a key was unwrapped proves little: with PKCS#1 v1.5 a wrong private key may give random
octets, by design, and once in some 200 times as many as asked for. So a key is taken

* where the content is known to begin in a certain way, as a layer of CMS does, only if it decrypts to that;
* where the content is a plain file, if its owner is named; only if no owner is named, as with a certificate that was
  renewed with the same key, the first that unwraps to the right length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.padding import PKCS7

from oftp2.cms import oids
from oftp2.cms.errors import DecryptionError
from oftp2.cms.keys import Owner
from oftp2.cms.recipientinfo import Recipient
from oftp2.cms.suites import ContentCipher

HEAD: Final = 64
"""Octets at the beginning of a content by which its key is proven right; as many of its cipher text are whole blocks."""

Proof = Callable[[bytes], bool]
"""Whether a content may begin so: with these ``HEAD`` octets, or be these fewer ones."""

Pair = tuple[Owner, Recipient]
Key = tuple[Owner, bytes, bytes]
"""Whose key it is, as it was wrapped, and as it is."""

_NO_KEY: Final = "no key here opens the encrypted data"
_OTHER_TYPE: Final = "; what is inside is said to be no plain content (id-data), which it has to be"
_CONTENT_INFO: Final = re.compile(
    rb"0(?:[\x00-\x80]|%s)(?:%s)"
    % (
        b"|".join(rb"%s.{%d}" % (re.escape(bytes((0x80 | size,))), size) for size in range(1, 9)),
        b"|".join(map(re.escape, (oids.DATA, oids.SIGNED_DATA, oids.ENVELOPED_DATA, oids.COMPRESSED_DATA))),
    ),
    re.DOTALL,
)


class NoKeyError(DecryptionError):
    """No key opens it, or it is damaged: which of both is not said.

    ``plain`` is whether what is inside is said to be of type id-data, as RFC 5024 section 6.1 has it.
    """

    def __init__(self, *, plain: bool) -> None:
        super().__init__(_NO_KEY if plain else _NO_KEY + _OTHER_TYPE)


def content_info(head: bytes) -> bool:
    """The proof for a further layer inside: a ContentInfo, of whatever type."""
    return _CONTENT_INFO.match(head) is not None


class Decryption:
    """Decrypts as octets come, once there are enough of them to tell which key it is."""

    _cipher: ContentCipher
    _vector: bytes
    _keys: Iterator[Key]
    _plain: bool

    def __init__(self, proof: Proof | None) -> None:
        self.owner: Owner | None = None
        self.wrapped = b""
        self._proof = proof
        self._head = b""
        self._held = b""
        self._decryptor: CipherContext | None = None

    def begin(self, cipher: ContentCipher, vector: bytes, keys: Iterator[Key], *, plain: bool) -> None:
        """What has to be known before the first octets; keys are tried one after the other. ``plain`` is for the error."""
        self._cipher, self._vector, self._keys, self._plain = cipher, vector, keys, plain

    def update(self, octets: bytes) -> bytes:
        """What is certain to be content: all but the last block, which may be padding."""
        if self._decryptor is None:
            self._head += octets
            if len(self._head) <= HEAD:
                return b""
            octets, self._head = self._head, b""
            self._decryptor = self._choose(octets[:HEAD], whole=False)
        plain = self._held + self._decryptor.update(octets)
        self._held = plain[-self._cipher.block_octets :]
        return plain[: -self._cipher.block_octets]

    def finish(self) -> bytes:
        """The last octets, without the padding."""
        decryptor = self._decryptor or self._choose(self._head, whole=True)
        try:
            return self._unpadded(self._held + decryptor.update(self._head) + decryptor.finalize())
        except ValueError:
            raise NoKeyError(plain=self._plain) from None

    def _choose(self, head: bytes, *, whole: bool) -> CipherContext:
        """A decryptor by the first key under which the content may begin as it then does, and end if it ends there."""
        for owner, wrapped, key in self._keys:
            try:
                decryptor = self._new(key)
                begin = decryptor.update(head) + (decryptor.finalize() if whole else b"")
                content = self._unpadded(begin) if whole else begin
            except ValueError:
                continue
            if self._proof is None or self._proof(content):
                self.owner, self.wrapped = owner, wrapped
                return self._new(key)
        raise NoKeyError(plain=self._plain)

    def _new(self, key: bytes) -> CipherContext:
        return Cipher(self._cipher.algorithm(key), modes.CBC(self._vector)).decryptor()

    def _unpadded(self, octets: bytes) -> bytes:
        unpadder = PKCS7(self._cipher.block_octets * 8).unpadder()
        return unpadder.update(octets) + unpadder.finalize()


def paired(recipients: Sequence[Recipient], owners: Sequence[Owner]) -> tuple[list[Pair], list[Pair]]:
    """Who may open what: the owners that a recipient names, and all others."""
    named: list[Pair] = []
    others: list[Pair] = []
    for recipient in recipients:
        for owner in owners:
            (named if recipient.names(owner.certificate) else others).append((owner, recipient))
    return named, others


def unwrapped(pairs: Sequence[Pair], cipher: ContentCipher) -> Iterator[Key]:
    """The keys of the content that owners unwrap."""
    for owner, recipient in pairs:
        try:
            key = owner.key.unwrap(recipient.wrapped, recipient.transport)
        except ValueError:
            continue
        if len(key) == cipher.key_octets:
            yield owner, recipient.wrapped, key
