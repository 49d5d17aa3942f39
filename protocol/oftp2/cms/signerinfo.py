"""One signature of SignedData: SignerInfo and its signed attributes, made and read (RFC 5652 sections 5.3 and 11).

Whether a signature is valid and whom it is by is the business of :mod:`oftp2.cms.signed`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

from oftp2.cms.errors import UNDECODABLE, SignatureError
from oftp2.cms.identifiers import issuer_and_serial, names
from oftp2.cms.suites import CipherSuite, Digest
from oftp2.values import clip

_ATTRIBUTES: Final = 64
"""Signed attributes of one signature: three are usual, ten are many."""

_NAME: Final = 200
"""Octets of a signer's name in a text."""

_NAMED: Final = 10
"""Attributes of an issuer in such a name."""

_LONGEST_ISSUER: Final = 4096
"""Octets of an issuer that is spelt out: what somebody puts into a longer one may take much memory to say."""

_LONGEST_SALT: Final = 2048

# The digest by the identifier of a signature with PKCS#1 v1.5; rsaEncryption leaves it to digestAlgorithm.
_PKCS1: Final = {
    "1.2.840.113549.1.1.1": None,
    "1.2.840.113549.1.1.5": Digest.SHA1,
    "1.2.840.113549.1.1.11": Digest.SHA256,
    "1.2.840.113549.1.1.12": Digest.SHA384,
    "1.2.840.113549.1.1.13": Digest.SHA512,
    "2.16.840.1.101.3.4.3.14": Digest.SHA3_256,
    "2.16.840.1.101.3.4.3.15": Digest.SHA3_384,
    "2.16.840.1.101.3.4.3.16": Digest.SHA3_512,
}
_PSS: Final = "1.2.840.113549.1.1.10"


def attributes(digest: bytes, at: datetime) -> cms.CMSAttributes:
    """What is signed for a content of type id-data with this digest. ``at`` is in UTC, without fractions of a second."""
    # RFC 5652 section 11.3: UTCTime from 1950 to 2049.
    kind = core.UTCTime if 1950 <= at.year < 2050 else core.GeneralizedTime
    time = kind(at)
    values = {"content_type": "data", "signing_time": time, "message_digest": digest}
    return cms.CMSAttributes([cms.CMSAttribute({"type": name, "values": [value]}) for name, value in values.items()])


def make(certificate: x509.Certificate, suite: CipherSuite, signed: cms.CMSAttributes, signature: bytes) -> bytes:
    """SignerInfo in DER, the signer named by issuer and serial number."""
    info: bytes = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier("issuer_and_serial_number", issuer_and_serial(certificate)),
            "digest_algorithm": {"algorithm": suite.digest.value},
            "signed_attrs": signed,
            "signature_algorithm": _algorithm(suite),
            "signature": signature,
        }
    ).dump()
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerInfo:
    """A signature as it was received."""

    identifier: cms.IssuerAndSerialNumber | core.OctetString
    name: str
    """Whom the identifier names, for people: cut and without what cannot be printed."""
    digest_algorithm: str
    signature_algorithm: str
    """Dotted."""
    parameters: core.Asn1Value
    """Those of the signature algorithm, not looked at yet."""
    signature: bytes
    attributes: bytes | None
    """What is inside the set of signed attributes, octet by octet; None where there is no set."""
    content_type: str | None = None
    message_digest: bytes | None = None
    signing_time: datetime | None = None

    @classmethod
    def load(cls, octets: bytes) -> SignerInfo:
        """Read a SignerInfo with definite lengths. Raises :class:`SignatureError`."""
        try:
            info = cms.SignerInfo.load(octets, strict=True)
            identifier, algorithm, signed = info["sid"].chosen, info["signature_algorithm"], info["signed_attrs"]
            absent = isinstance(signed, core.Void)
            return cls(
                identifier=identifier,
                name=_name(identifier),
                digest_algorithm=info["digest_algorithm"]["algorithm"].native,
                signature_algorithm=algorithm["algorithm"].dotted,
                parameters=algorithm["parameters"],
                signature=info["signature"].native,
                attributes=None if absent else signed.contents,
                **({} if absent else _values(signed)),
            )
        except UNDECODABLE:
            raise SignatureError("the signed data cannot be read: a signature is not as RFC 5652 has it") from None

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether it says that it was made with the key of this certificate."""
        return names(self.identifier, certificate)

    def refusal(self, text: str) -> SignatureError:
        """What to raise: ``text`` behind the name of the signer."""
        return SignatureError(f"the signature of {self.name} {text}")

    def scheme(self) -> tuple[Digest, AsymmetricPadding]:
        """Digest and padding. Raises :class:`SignatureError` for some that we do not know or that do not fit together."""
        try:
            digest = Digest(self.digest_algorithm)
        except ValueError:
            raise self.refusal(f"uses the digest {self.digest_algorithm}, which no cipher suite has") from None
        if self.signature_algorithm == _PSS:
            try:
                return digest, _pss(self.parameters, digest)
            except UNDECODABLE:
                raise self.refusal("has parameters of PSS that do not fit its digest") from None
        if self.signature_algorithm not in _PKCS1:
            raise self.refusal(f"uses the algorithm {self.signature_algorithm}, which no cipher suite has")
        if _PKCS1[self.signature_algorithm] not in {None, digest}:
            raise self.refusal("has an algorithm that does not fit its digest")
        return digest, padding.PKCS1v15()


def _algorithm(suite: CipherSuite) -> algos.SignedDigestAlgorithm:
    if not suite.probabilistic:
        return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15"})
    digest = {"algorithm": suite.digest.value}
    parameters = {
        "hash_algorithm": digest,
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": algos.DigestAlgorithm(digest)},
        "salt_length": suite.digest_octets,
    }
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": algos.RSASSAPSSParams(parameters)})


def _pss(parameters: algos.RSASSAPSSParams, digest: Digest) -> padding.PSS:
    """The padding (RFC 4055 section 3.1): hash of the digest, any salt, trailer 1.

    The mask is usually of the same digest; Java makes it of SHA-1 unless it is told otherwise, which weakens nothing.
    """
    generator = parameters["mask_gen_algorithm"]
    mask = Digest(generator["parameters"]["algorithm"].native)
    said = (
        parameters["hash_algorithm"]["algorithm"].native,
        generator["algorithm"].native,
        parameters["trailer_field"].native,
    )
    salt = parameters["salt_length"].native
    if said != (digest.value, "mgf1", "trailer_field_bc") or not 0 <= salt <= _LONGEST_SALT:
        raise ValueError(said)
    return padding.PSS(mgf=padding.MGF1(mask.algorithm), salt_length=salt)


def _values(signed: cms.CMSAttributes) -> dict[str, Any]:
    """The values of those attributes that we know. Raises one of ``UNDECODABLE``."""
    if len(signed) > _ATTRIBUTES:
        raise ValueError(len(signed))
    found: dict[str, Any] = {}
    for attribute in signed:
        name = attribute["type"].native
        if name in {"content_type", "message_digest", "signing_time"}:
            (value,) = attribute["values"]
            if name in found:
                raise ValueError(name)
            found[name] = _time(value) if name == "signing_time" else value.native
    return found


def _time(value: cms.Time) -> datetime | None:
    """A signing time in UTC; None for one that cannot be read, because nothing hangs on it."""
    with suppress(*UNDECODABLE):
        time = value.native
        if isinstance(time, datetime):
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return None


def _name(identifier: cms.IssuerAndSerialNumber | core.OctetString) -> str:
    if isinstance(identifier, cms.IssuerAndSerialNumber):
        issuer = "an issuer with a very long name"
        if len(identifier["issuer"].dump()) <= _LONGEST_ISSUER:
            values = (str(item["value"].native) for rdn in identifier["issuer"].chosen for item in rdn)
            issuer = ", ".join(islice(values, _NAMED)) or "nobody"
        name = f"serial number {identifier['serial_number'].native:x} of {issuer}"
    else:
        name = f"key identifier {identifier.native.hex()}"
    return clip("".join(character if character.isprintable() else "?" for character in name), _NAME)
