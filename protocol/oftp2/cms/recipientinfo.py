"""One recipient of EnvelopedData: KeyTransRecipientInfo, made and read (RFC 5652 section 6.2.1, RFC 5024 section 6.3).

Which of the keys here opens the content is the business of :mod:`oftp2.cms.decryption`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asn1crypto import algos, cms, core
from cryptography import x509

from oftp2.cms import ber
from oftp2.cms.errors import UNDECODABLE, DecryptionError
from oftp2.cms.identifiers import issuer_and_serial, names, stated_key_identifier
from oftp2.cms.keys import rsa_key, wrap
from oftp2.cms.suites import Digest, KeyTransport, Oaep

_NO_PARAMETERS: Final = ber.element(ber.SEQUENCE)


def make(certificate: x509.Certificate, key: bytes, transport: KeyTransport, *, by_key_identifier: bool) -> bytes:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """What a recipient info says."""

    identifier: cms.IssuerAndSerialNumber | core.OctetString
    transport: KeyTransport
    wrapped: bytes

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether it is meant for the owner of this certificate."""
        return names(self.identifier, certificate)


def load(encoded: bytes) -> Recipient | None:
    """What a KeyTransRecipientInfo says; None where the key is wrapped in a way that is not known."""
    try:
        info = cms.KeyTransRecipientInfo.load(encoded, strict=True)
        identifier, wrapped = info["rid"].chosen, info["encrypted_key"].native
        transport = _transport(info["key_encryption_algorithm"])
    except UNDECODABLE as error:
        raise DecryptionError(
            "the encrypted data cannot be read: a recipient is not written as it has to be"
        ) from error
    return None if transport is None else Recipient(identifier=identifier, transport=transport, wrapped=wrapped)


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
