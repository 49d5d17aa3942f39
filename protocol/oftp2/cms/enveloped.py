"""EnvelopedData as it streams by (RFC 5652 section 6, RFC 5024 section 6.3): encrypted for owners of RSA keys.

What is written is DER where the length of the content is known, and BER with indefinite lengths where it is not. What is
read may be encoded in any way; recipients that do not use RSA key transport are read over.

**Which key is the right one.** The keys that recipients name by issuer and serial number or by key identifier are tried
first, then every other one. That a key was unwrapped proves little: with PKCS#1 v1.5 a wrong private key may give random
octets, by design, and once in some 200 times as many as asked for. So a key is taken

* where the content is known to begin in a certain way, as a layer of CMS does, only if it decrypts to that;
* where the content is a plain file, if its owner is named; only if no owner is named, as with a certificate that was
  renewed with the same key, the first that unwraps to the right length.

All ways in which decryption can fail end in the same error. What is told of it, and of what fails inside, is the business of
:mod:`oftp2.cms.package`.

**What encryption does not do.** Cipher block chaining hides the content and does not protect it: who alters an encrypted
file may alter what comes out, unnoticed but for the padding. What protects the content is a signature inside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.padding import PKCS7

from oftp2.cms import ber, oids
from oftp2.cms.errors import DecryptionError, PackageError
from oftp2.cms.identifiers import issuer_and_serial, names, stated_key_identifier
from oftp2.cms.keys import Owner, rsa_key, wrap
from oftp2.cms.limits import Limits
from oftp2.cms.suites import CipherSuite, ContentCipher, Digest, KeyTransport, Oaep

HEAD: Final = 64
"""Octets at the beginning of a content by which its key is proven right; as many of its cipher text are whole blocks."""

Proof = Callable[[bytes], bool]
"""Whether a content may begin so: with these ``HEAD`` octets, or be these fewer ones."""

_IMPLICIT: Final = 0x80
_ORIGINATOR: Final = 0xA0
_UNPROTECTED: Final = 0xA1
_MOST: Final = 256
"""Octets of a version, a type or an algorithm at the most."""

_NO_PARAMETERS: Final = ber.element(ber.SEQUENCE)
_NO_KEY: Final = "no key here opens the encrypted data"
_OTHER_TYPE: Final = "; what is inside is said to be no plain content (id-data), which it has to be"
# What asn1crypto raises for what it cannot read.
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError)
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
        infos = [_recipient_info(one, key, suite.transport, by_key_identifier=by_key_identifier) for one in recipients]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipient:
    """What a recipient info says, for a transport that is strong enough."""

    identifier: cms.IssuerAndSerialNumber | core.OctetString
    transport: KeyTransport
    wrapped: bytes


_Pair = tuple[Owner, _Recipient]
_Key = tuple[Owner, bytes, bytes]
"""Whose key it is, as it was wrapped, and as it is."""


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
        self._decryption = _Decryption(proof)
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
        first, others = _paired(recipients, self._owners)
        self.named, self.begun = bool(first), True
        pairs = first if first and self._only_named else first + others
        self._decryption.begin(cipher, vector, _keys(pairs[: self._limits.unwrappings], cipher), plain=plain)
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

    def _recipients(self, source: ber.Input) -> ber.Decoding[list[_Recipient]]:
        yield from source.enter(ber.SET)
        recipients: list[_Recipient] = []
        weak: set[str] = set()
        count = 0
        while (tag := (yield from source.next_tag())) is not None:
            count += 1
            if count > self._limits.recipients:
                raise DecryptionError(f"the encrypted data have more than {self._limits.recipients} recipients")
            info = yield from self._held(source)
            if tag != ber.SEQUENCE:
                continue  # agreed, known or derived keys: none of them is ours
            recipient = _recipient(info)
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
        except _UNREADABLE as error:
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


class _Decryption:
    """Decrypts as octets come, once there are enough of them to tell which key it is."""

    _cipher: ContentCipher
    _vector: bytes
    _keys: Iterator[_Key]
    _plain: bool

    def __init__(self, proof: Proof | None) -> None:
        self.owner: Owner | None = None
        self.wrapped = b""
        self._proof = proof
        self._head = b""
        self._held = b""
        self._decryptor: CipherContext | None = None

    def begin(self, cipher: ContentCipher, vector: bytes, keys: Iterator[_Key], *, plain: bool) -> None:
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


def _paired(recipients: Sequence[_Recipient], owners: Sequence[Owner]) -> tuple[list[_Pair], list[_Pair]]:
    """Who may open what: the owners that a recipient names, and all others."""
    named: list[_Pair] = []
    others: list[_Pair] = []
    for recipient in recipients:
        for owner in owners:
            (named if names(recipient.identifier, owner.certificate) else others).append((owner, recipient))
    return named, others


def _keys(pairs: Sequence[_Pair], cipher: ContentCipher) -> Iterator[_Key]:
    """The keys of the content that owners unwrap."""
    for owner, recipient in pairs:
        try:
            key = owner.key.unwrap(recipient.wrapped, recipient.transport)
        except ValueError:
            continue
        if len(key) == cipher.key_octets:
            yield owner, recipient.wrapped, key


def _recipient(encoded: bytes) -> _Recipient | None:
    """What a KeyTransRecipientInfo says; None where the key is wrapped in a way that is not known."""
    try:
        info = cms.KeyTransRecipientInfo.load(encoded, strict=True)
        identifier, wrapped = info["rid"].chosen, info["encrypted_key"].native
        transport = _transport(info["key_encryption_algorithm"])
    except _UNREADABLE as error:
        raise DecryptionError(
            "the encrypted data cannot be read: a recipient is not written as it has to be"
        ) from error
    return None if transport is None else _Recipient(identifier=identifier, transport=transport, wrapped=wrapped)


def _transport(algorithm: cms.KeyEncryptionAlgorithm) -> KeyTransport | None:
    name = algorithm["algorithm"].native
    if name == "rsaes_pkcs1v15":
        return KeyTransport()
    if name != "rsaes_oaep":
        return None
    # Without parameters SHA-1 is meant (RFC 4055 section 4.1).
    parameters = algos.RSAESOAEPParams.load(algorithm["parameters"].dump() or _NO_PARAMETERS, strict=True)
    generator = parameters["mask_gen_algorithm"]
    digests = {digest.value for digest in Digest}
    digest, mask = parameters["hash_algorithm"]["algorithm"].native, generator["parameters"]["algorithm"].native
    labelled = parameters["p_source_algorithm"]["parameters"].native
    if generator["algorithm"].native != "mgf1" or not digests.issuperset((digest, mask)) or labelled:
        return None
    return KeyTransport(Oaep(Digest(digest), Digest(mask)))


def _recipient_info(
    certificate: x509.Certificate, key: bytes, transport: KeyTransport, *, by_key_identifier: bool
) -> bytes:
    """A KeyTransRecipientInfo in DER."""
    stated = stated_key_identifier(certificate) if by_key_identifier else None
    if stated is not None:
        identifier = cms.RecipientIdentifier("subject_key_identifier", stated)
    else:
        identifier = cms.RecipientIdentifier("issuer_and_serial_number", issuer_and_serial(certificate))
    algorithm: dict[str, object] = {"algorithm": "rsaes_pkcs1v15", "parameters": core.Null()}
    if transport.oaep:
        parameters = algos.RSAESOAEPParams(
            {
                "hash_algorithm": {"algorithm": transport.oaep.digest.value},
                "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": transport.oaep.mask.value}},
            }
        )
        algorithm = {"algorithm": "rsaes_oaep", "parameters": parameters}
    info = {
        "version": "v0" if stated is None else "v2",
        "rid": identifier,
        "key_encryption_algorithm": algorithm,
        "encrypted_key": wrap(rsa_key(certificate), key, transport),
    }
    encoded: bytes = cms.KeyTransRecipientInfo(info).dump()
    return encoded


def _algorithm(cipher: ContentCipher, vector: bytes) -> bytes:
    parameters = core.OctetString(vector)
    encoded: bytes = algos.EncryptionAlgorithm({"algorithm": cipher.value, "parameters": parameters}).dump()
    return encoded


def _version(number: int) -> bytes:
    return ber.element(ber.INTEGER, bytes((number,)))
