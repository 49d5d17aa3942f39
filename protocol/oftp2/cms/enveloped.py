"""EnvelopedData as it streams by (RFC 5652 section 6, RFC 5024 section 6.3): encrypted for owners of RSA keys.

What is written is DER where the length of the content is known, and BER with indefinite lengths where it is not. What is
read may be encoded in any way; recipients that do not use RSA key transport are read over. Which key is the right one is told by
:mod:`oftp2.cms.decryption`.

All ways in which decryption can fail end in the same error. What is told of it, and of what fails inside, is the business of
:mod:`oftp2.cms.package`.

**What encryption does not do.** Cipher block chaining hides the content and does not protect it: who alters an encrypted
file may alter what comes out, unnoticed but for the padding. What protects the content is a signature inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from asn1crypto import algos, core
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from oftp2.cms import ber, oids, recipientinfo
from oftp2.cms.decryption import Decryption, Proof, paired, unwrapped
from oftp2.cms.errors import UNDECODABLE, DecryptionError, PackageError
from oftp2.cms.identifiers import stated_key_identifier
from oftp2.cms.keys import Owner
from oftp2.cms.limits import Limits
from oftp2.cms.recipientinfo import Recipient
from oftp2.cms.suites import CipherSuite, ContentCipher

_IMPLICIT: Final = 0x80
_ORIGINATOR: Final = 0xA0
_UNPROTECTED: Final = 0xA1
_MOST: Final = 256
"""Octets of a version, a type or an algorithm at the most."""


class Enveloping:
    """A stage that encrypts what comes for several owners and wraps it in a ContentInfo with EnvelopedData.

    ``octets`` is the length of the content where it is known; ``length`` then that of all that comes out. Recipients are
    named by issuer and serial number, or by the identifiers of their keys where their certificates state them. Raises
    ``ValueError`` without recipients, for a certificate without RSA key, and for a key too short for the suite.
    """

    def __init__(
        self,
        *,
        suite: CipherSuite,
        recipients: Sequence[x509.Certificate],
        octets: int | None = None,
        by_key_identifier: bool = False,
    ) -> None:
        if not recipients:
            raise ValueError("a file is encrypted for at least one recipient")
        key, vector = os.urandom(suite.cipher.key_octets), os.urandom(suite.cipher.block_octets)
        self._block = suite.cipher.block_octets
        self._encryptor = Cipher(suite.cipher.algorithm(key), modes.CBC(vector)).encryptor()
        self._octets = 0
        padded = None if octets is None else octets + self._block - octets % self._block
        self._content = ber.OctetString(padded, _IMPLICIT)
        named = by_key_identifier and any(stated_key_identifier(one) is not None for one in recipients)
        infos = [
            recipientinfo.make(one, key, suite.transport, by_key_identifier=by_key_identifier) for one in recipients
        ]
        begin = self._content.begin
        for tag, before in (
            (ber.SEQUENCE, oids.DATA + _algorithm(suite.cipher, vector)),
            # DER has the elements of a set in the order of their octets.
            (ber.SEQUENCE, _version(2 if named else 0) + ber.element(ber.SET, *sorted(infos))),
            (oids.CONTENT, b""),
            (ber.SEQUENCE, oids.ENVELOPED_DATA),
        ):
            begin = before + begin
            begin = ber.header(tag, None if padded is None else len(begin) + padded) + begin
        self._begin = begin
        self._end = b"" if padded is not None else 4 * ber.END
        self.length: Final = None if padded is None else len(begin) + padded

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says. Raises ``ValueError`` for more octets than were said."""
        self._octets += len(octets)
        return self._began() + self._content.update(self._encryptor.update(octets))

    def finish(self) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says. Raises ``ValueError`` for less octets than were said."""
        missing = self._block - self._octets % self._block
        last = self._encryptor.update(bytes((missing,)) * missing) + self._encryptor.finalize()
        rest = self._content.update(last) + self._content.finish()
        return self._began() + rest + self._end

    def _began(self) -> bytes:
        begin, self._begin = self._begin, b""
        return begin


class Opening:
    """A stage that takes the content out of a ContentInfo with EnvelopedData, by a key of one of the owners.

    Cipher and key transport must not be weaker than those of the suite, if one is given. ``proof`` tells whether a
    content may begin as it does after decryption; without one it may be anything. Once finished, ``owner`` is whose
    key it was. Raises :class:`DecryptionError`, and :class:`PackageError` for octets behind its end.
    """

    def __init__(
        self, owners: Sequence[Owner], *, suite: CipherSuite | None, limits: Limits, proof: Proof | None = None
    ) -> None:
        self.owner: Owner | None = None
        self.wrapped = b""
        """The key of the content as it came for the owner; like it, known once finished."""
        self.named = False
        """Whether a recipient is one of the owners; known once it has begun."""
        self.begun = False
        """Whether the encrypted octets have been reached: what is found from then on may depend on what they hide."""

        self._owners, self._suite, self._limits = owners, suite, limits
        self._only_named = proof is None
        self._room = limits.held
        self._decryption = Decryption(proof)
        self._encrypted: list[bytes] = []
        self._parser = ber.Parser(self._decode, depth=limits.depth)

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        try:
            self._parser.feed(octets)
        except ber.TrailingOctetsError as error:
            raise PackageError("octets follow the encrypted data") from error
        except ber.BerError as error:
            raise DecryptionError(f"the encrypted data cannot be read: {error}") from error
        encrypted = b"".join(self._encrypted)
        self._encrypted.clear()
        return self._decryption.update(encrypted) if encrypted else b""

    def finish(self) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        try:
            self._parser.finish()
        except ber.BerError as error:
            raise DecryptionError(f"the encrypted data cannot be read: {error}") from error
        rest = self._decryption.finish()
        self.owner, self.wrapped = self._decryption.owner, self._decryption.wrapped
        return rest

    def _decode(self, source: ber.Input) -> ber.Decoding[None]:
        yield from source.enter(ber.SEQUENCE)
        if (yield from source.element(most=_MOST)) != oids.ENVELOPED_DATA:
            raise DecryptionError("the content is not enveloped data of CMS, though it was said to be encrypted")
        yield from source.enter(oids.CONTENT)
        yield from source.enter(ber.SEQUENCE)
        yield from source.element(most=_MOST)  # the version follows from what comes, and adds nothing to it
        if (yield from source.next_tag()) == _ORIGINATOR:
            yield from self._held(source)
        recipients = yield from self._recipients(source)
        yield from source.enter(ber.SEQUENCE)
        plain = (yield from source.element(most=_MOST)) == oids.DATA  # what it is otherwise shows by itself
        cipher, vector = self._cipher((yield from source.element(most=_MOST)))
        first, others = paired(recipients, self._owners)
        self.named, self.begun = bool(first), True
        pairs = first if first and self._only_named else first + others
        self._decryption.begin(cipher, vector, unwrapped(pairs[: self._limits.unwrappings], cipher), plain=plain)
        yield from source.octet_string(_IMPLICIT, self._encrypted.append)
        yield from source.leave()
        if (yield from source.next_tag()) == _UNPROTECTED:
            yield from self._held(source)
        for _ in range(3):
            yield from source.leave()

    def _held(self, source: ber.Input) -> ber.Decoding[bytes]:
        """An element that counts among what may be held of a message."""
        element = yield from source.element(most=self._room)
        self._room -= len(element)
        return element

    def _recipients(self, source: ber.Input) -> ber.Decoding[list[Recipient]]:
        yield from source.enter(ber.SET)
        recipients: list[Recipient] = []
        weak: set[str] = set()
        count = 0
        while (tag := (yield from source.next_tag())) is not None:
            count += 1
            if count > self._limits.recipients:
                raise DecryptionError(f"the encrypted data have more than {self._limits.recipients} recipients")
            info = yield from self._held(source)
            if tag != ber.SEQUENCE:
                continue  # agreed, known or derived keys: none of them is ours
            recipient = recipientinfo.load(info)
            if recipient is None:
                weak.add("an unknown method")
            elif self._suite and recipient.transport.weaker(self._suite.transport):
                weak.add(str(recipient.transport))
            else:
                recipients.append(recipient)
        yield from source.leave()
        if weak and not recipients:
            agreed = f"cipher suite {self._suite} asks for" if self._suite else "can be read"
            raise DecryptionError(f"the key is wrapped with {' and '.join(sorted(weak))}, which is not what {agreed}")
        return recipients

    def _cipher(self, encoded: bytes) -> tuple[ContentCipher, bytes]:
        try:
            algorithm = algos.EncryptionAlgorithm.load(encoded, strict=True)
            name, vector = algorithm["algorithm"].native, algorithm["parameters"].native
        except UNDECODABLE as error:
            raise DecryptionError("the encrypted data cannot be read: there is no algorithm") from error
        if name not in {cipher.value for cipher in ContentCipher}:
            raise DecryptionError(f"the content is encrypted with {name}, which no cipher suite has")
        cipher = ContentCipher(name)
        if not isinstance(vector, bytes) or len(vector) != cipher.block_octets:
            raise DecryptionError("the encrypted data cannot be read: there is no initialisation vector")
        if self._suite and cipher.weaker(self._suite.cipher):
            raise DecryptionError(
                f"the content is encrypted with {cipher}, weaker than cipher suite {self._suite} says"
            )
        return cipher, vector


def _algorithm(cipher: ContentCipher, vector: bytes) -> bytes:
    parameters = core.OctetString(vector)
    encoded: bytes = algos.EncryptionAlgorithm({"algorithm": cipher.value, "parameters": parameters}).dump()
    return encoded


def _version(number: int) -> bytes:
    return ber.element(ber.INTEGER, bytes((number,)))
