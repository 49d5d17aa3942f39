"""Signed files: SignedData with the content inside, as it streams by (RFC 5652 section 5, RFC 5024 section 6.2).

Written are one or several signatures with the signed attributes contentType, messageDigest and signingTime, the
signers named by issuer and serial number. Read is whatever a product writes: DER and BER, signers named either way,
with or without signed attributes and certificates, RSA with PKCS#1 v1.5 or PSS. Whom to believe is the caller's
choice of certificates: those inside a message are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.cms import oids, signerinfo
from oftp2.cms.ber import (
    END,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    BerError,
    Decoding,
    Input,
    OctetString,
    Parser,
    TrailingOctetsError,
    distinguished,
    element,
    header,
    read_header,
)
from oftp2.cms.errors import UNDECODABLE, PackageError, SignatureError
from oftp2.cms.keys import Signer, fingerprint, rsa_key
from oftp2.cms.limits import Limits
from oftp2.cms.signerinfo import SignerInfo
from oftp2.cms.suites import CipherSuite, Digest

_CERTIFICATES: Final = 0xA0
_REVOCATIONS: Final = 0xA1
_VERSION: Final = element(INTEGER, b"\x01")
"""Of SignedData with plain content, whose signers are named by issuer and serial number."""

_DIGESTS: Final = 4
"""The most digests that are made of one content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature that is valid."""

    certificate: x509.Certificate
    """One of those that were given, whose key made the signature."""

    signing_time: datetime | None
    """When the signer says that it signed, in UTC; None where the signature says nothing."""

    digest: Digest

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in DER, in hexadecimal digits."""
        return fingerprint(self.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was signed, and by whom."""

    content: bytes

    signatures: tuple[Signature, ...]
    """At least one."""

    ignored: tuple[str, ...] = ()
    """One text for each signature by somebody else, which proves nothing."""


class Signing:
    """The stage that signs: SignedData comes out, the content inside.

    With the length of the content known, in octets, the encoding is DER; with None it is BER with indefinite lengths.
    ``at`` is the signing time, with a time zone. ``certificates``: put in those of the signers, against the advice of
    RFC 5024 section 6.2. Raises ``ValueError`` without signers, for a time without zone, for content of another length
    than said, and for a key that is too short for the suite.
    """

    def __init__(
        self,
        signers: Sequence[Signer],
        suite: CipherSuite,
        *,
        octets: int | None,
        at: datetime,
        certificates: bool = False,
    ) -> None:
        if not signers:
            raise ValueError("there is nobody to sign")
        if at.tzinfo is None:
            raise ValueError("the signing time has no time zone")
        self._signers = signers
        self._suite = suite
        self._at = at.astimezone(UTC).replace(microsecond=0)
        self._certificates = _certificates(signers) if certificates else b""
        self._hash = suite.new_hash()
        self._content = OctetString(octets)
        # Signatures are as long as their keys, so that it can be said before how long all will be.
        blank = [bytes(signer.signature_octets) for signer in signers]
        self._behind = len(self._end(signerinfo.attributes(bytes(suite.digest_octets), self._at), blank))
        self._begin = self._beginning(octets)
        self.length: Final = None if octets is None else len(self._begin) + octets + self._behind
        """Octets of all that comes out, where that of the content is known."""
        self._ends = (END * 2, END * 3) if octets is None else (b"", b"")

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        self._hash.update(octets)
        begin, self._begin = self._begin, b""
        return begin + self._content.update(octets)

    def finish(self) -> bytes:
        """The signatures."""
        attributes = signerinfo.attributes(self._hash.digest(), self._at)
        digest, scheme = self._suite.digest.of(attributes.dump()), self._suite.signature
        end = self._end(attributes, [signer.key.sign(digest, scheme) for signer in self._signers])
        if len(end) != self._behind:
            raise ValueError("a key made a signature of another length than its own")
        return b"".join((self._begin, self._content.finish(), self._ends[0], end, self._ends[1]))

    def _beginning(self, octets: int | None) -> bytes:
        """All that stands before the content: headers, whose lengths are made from the inside out."""
        digest = cms.DigestAlgorithm({"algorithm": self._suite.digest.value}).dump()
        outwards = (
            (oids.CONTENT, self._content.begin, 0),
            (SEQUENCE, oids.DATA, 0),
            (SEQUENCE, _VERSION + element(SET, digest), self._behind),
            (oids.CONTENT, b"", 0),
            (SEQUENCE, oids.SIGNED_DATA, 0),
        )
        begin, behind = b"", 0
        for tag, before, after in outwards:
            begin, behind = before + begin, behind + after
            begin = header(tag, None if octets is None else len(begin) + octets + behind) + begin
        return begin

    def _end(self, attributes: cms.CMSAttributes, signatures: Sequence[bytes]) -> bytes:
        """All that stands behind the content."""
        infos = (
            signerinfo.make(signer.certificate, self._suite, attributes, signature)
            for signer, signature in zip(self._signers, signatures, strict=True)
        )
        return self._certificates + element(SET, *sorted(infos))


class Verifying:
    """The stage that verifies: the content comes out, and is vouched for when ``finish`` has returned.

    ``certificates`` are those of the partner that are good for signing; a signature is tried with the one that it
    names, then with every other. At least one signature has to be valid, and every one that names a certificate we
    were given. Digest and padding may not be weaker than those of ``suite``. ``detached`` is the content when the message
    does not hold it. What a partner did wrong raises :class:`SignatureError`, octets behind the message
    :class:`PackageError`.
    """

    def __init__(
        self,
        certificates: Sequence[x509.Certificate],
        suite: CipherSuite,
        *,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        detached: bytes | None = None,
    ) -> None:
        self.signatures: tuple[Signature, ...] = ()
        """The valid ones, when it has finished."""
        self.ignored: tuple[str, ...] = ()
        """A text for each signature by somebody else, when it has finished."""
        self.attached = False
        """Whether the message holds the content."""

        self._keys = list(_keys(certificates))
        self._suite = suite
        self._limits = limits
        self._detached = detached
        self._may_hold = limits.held
        self._hashes = {suite.digest: suite.new_hash()}
        self._pieces: list[bytes] = []
        self._infos: list[bytes] = []
        self._content = _Beginning()
        self._parser = Parser(self._message, depth=limits.depth)

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        try:
            self._parser.feed(octets)
        except TrailingOctetsError:
            raise PackageError("octets follow behind the signed data") from None
        except BerError as error:
            raise SignatureError(f"the signed data cannot be read: {error}") from None
        content = b"".join(self._pieces)
        self._pieces.clear()
        self._digest(content)
        return content

    def finish(self) -> bytes:
        """Judge the signatures. Nothing comes out any more."""
        try:
            self._parser.finish()
        except BerError as error:
            raise SignatureError(f"the signed data cannot be read: {error}") from None
        if not self.attached:
            if self._detached is None:
                raise SignatureError("the signed data hold no content")
            self._digest(self._detached)
        valid, ignored = [], []
        for info in map(SignerInfo.load, self._infos):
            try:
                valid.append(self._verified(info))
            except SignatureError as error:
                if any(info.names(certificate) for certificate, _ in self._keys):
                    raise
                ignored.append(str(error))
        if not valid:
            raise SignatureError(ignored[0] if ignored else "the signed data hold no signature")
        self.signatures, self.ignored = tuple(valid), tuple(ignored)
        return b""

    @property
    def digest(self) -> bytes:
        """Of the content, by the digest of the suite, when it has finished."""
        return self._hashes[self._suite.digest].digest()

    def _digest(self, content: bytes) -> None:
        self._content.add(content)
        for digest in self._hashes.values():
            digest.update(content)

    def _message(self, source: Input) -> Decoding[None]:
        """ContentInfo with SignedData (RFC 5652 section 5.1)."""
        yield from source.enter(SEQUENCE)
        yield from self._type(source, oids.SIGNED_DATA, "they are no signed data")
        yield from source.enter(oids.CONTENT)
        yield from source.enter(SEQUENCE)
        yield from self._hold(source)  # version
        yield from source.enter(SET)
        for _ in range(self._limits.signers):
            if (yield from source.next_tag()) is None:
                break
            self._announce((yield from self._hold(source)))
        yield from source.leave()
        yield from source.enter(SEQUENCE)
        yield from self._type(source, oids.DATA, "what is signed is no plain content (id-data)")
        if (yield from source.next_tag()) is not None:
            self.attached = True
            yield from source.enter(oids.CONTENT)
            yield from source.octet_string(OCTET_STRING, self._pieces.append)
            yield from source.leave()
        yield from source.leave()
        for unasked in (_CERTIFICATES, _REVOCATIONS):
            if (yield from source.next_tag()) == unasked:
                yield from source.enter(unasked)
                while (yield from source.next_tag()) is not None:
                    yield from self._hold(source)
                yield from source.leave()
        yield from source.enter(SET)
        while (yield from source.next_tag()) is not None:
            if len(self._infos) == self._limits.signers:
                raise SignatureError(f"the signed data hold more than {self._limits.signers} signatures")
            self._infos.append((yield from self._hold(source)))
        for _ in range(4):
            yield from source.leave()

    def _type(self, source: Input, expected: bytes, refusal: str) -> Decoding[None]:
        if (yield from source.next_tag()) != OBJECT_IDENTIFIER or (yield from self._hold(source)) != expected:
            raise SignatureError(f"the signed data cannot be read: {refusal}")

    def _hold(self, source: Input) -> Decoding[bytes]:
        held = yield from source.element(most=self._may_hold)
        self._may_hold -= len(held)
        return held

    def _announce(self, algorithm: bytes) -> None:
        """Digest the content with what a signature will want, unless that is weaker than agreed."""
        with suppress(*UNDECODABLE):  # one that we do not know will do for a signature that we do not know
            digest = Digest(cms.DigestAlgorithm.load(algorithm)["algorithm"].native)
            if digest.octets >= self._suite.digest_octets and len(self._hashes) < _DIGESTS:
                self._hashes.setdefault(digest, digest.new())

    def _verified(self, info: SignerInfo) -> Signature:
        """The signature, if it is valid with one of our certificates."""
        digest, pad = info.scheme()
        if digest.octets < self._suite.digest_octets or (
            self._suite.probabilistic and not isinstance(pad, padding.PSS)
        ):
            raise info.refusal(f"is weaker than cipher suite {self._suite.number:02} asks for")
        if digest not in self._hashes:
            raise info.refusal(f"uses {digest}, which the signed data do not announce")
        for signed in self._signed(info, digest):
            for certificate, key in sorted(self._keys, key=lambda pair: not info.names(pair[0])):
                with suppress(InvalidSignature, ValueError):  # ValueError: a key too short for it
                    key.verify(info.signature, signed, pad, Prehashed(digest.algorithm))
                    return Signature(certificate=certificate, signing_time=info.signing_time, digest=digest)
        raise info.refusal("is not valid, or was made with a key whose certificate is not known here")

    def _signed(self, info: SignerInfo, digest: Digest) -> list[bytes]:
        """The digests that the signature may be over."""
        of_content = self._hashes[digest].digest()
        if info.attributes is None:
            # Whoever signed attributes has signed the same octets as a content: they must not pass for one.
            if self._content.may_be_attributes:
                raise info.refusal("has no attributes, over a content that itself looks like some")
            return [of_content]
        if info.content_type != "data":
            raise info.refusal("is over another type of content")
        if info.message_digest != of_content:
            raise info.refusal("is over another content")
        # As received, or as RFC 5652 section 5.4 wants it though BER may say it otherwise.
        as_received = element(SET, info.attributes)
        again = distinguished(as_received, depth=self._limits.depth)
        return [digest.of(form) for form in dict.fromkeys((as_received, again))]


class _Beginning:
    """The first octets of a content and its length: enough to tell that it is a SET OF Attribute."""

    def __init__(self) -> None:
        self._octets = b""
        self._length = 0

    def add(self, content: bytes) -> None:
        self._octets += content[: 32 - len(self._octets)]
        self._length += len(content)

    @property
    def may_be_attributes(self) -> bool:
        try:
            attributes = read_header(self._octets)
            if attributes is None or attributes[0] != SET:
                return False
            _, length, inside = attributes
            attribute = read_header(self._octets, inside)
        except BerError:
            return False
        if length is not None and inside + length != self._length:
            return False
        if attribute is None or attribute[0] != SEQUENCE:
            return False
        return self._octets[attribute[2] : attribute[2] + 1] == bytes((OBJECT_IDENTIFIER,))


def sign(
    content: bytes, signers: Sequence[Signer], suite: CipherSuite, *, at: datetime, certificates: bool = False
) -> bytes:
    """Something small as SignedData in DER. Arguments and errors are those of :class:`Signing`."""
    stage = Signing(signers, suite, octets=len(content), at=at, certificates=certificates)
    return stage.update(content) + stage.finish()


def verify(
    octets: bytes,
    certificates: Sequence[x509.Certificate],
    suite: CipherSuite,
    *,
    content: bytes | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Verified:
    """Something small, judged as by :class:`Verifying`. ``content`` is what it has to be over, inside or not.

    Without it, the content has to be inside. Raises :class:`SignatureError`.
    """
    stage = Verifying(certificates, suite, limits=limits, detached=content)
    try:
        inside = stage.update(octets) + stage.finish()
    except PackageError as error:
        raise SignatureError(str(error)) from None
    signed = inside if stage.attached or content is None else content
    if content not in {None, signed}:
        raise SignatureError("the signature is over another content")
    return Verified(content=signed, signatures=stage.signatures, ignored=stage.ignored)


def _certificates(signers: Sequence[Signer]) -> bytes:
    return element(_CERTIFICATES, *sorted({signer.certificate.public_bytes(Encoding.DER) for signer in signers}))


def _keys(certificates: Sequence[x509.Certificate]) -> Iterator[tuple[x509.Certificate, RSAPublicKey]]:
    for certificate in certificates:
        with suppress(ValueError, UnsupportedAlgorithm):  # of another kind than RSA: it signs nothing for OFTP2
            yield certificate, rsa_key(certificate)
