"""The certificate in a received ACX file (acx.md 2.2, 2.3 and choice 1 of section 12).

The rule is one end-entity certificate in DER. PEM and a CMS SignedData that holds certificates only are
read as well; what they carry besides the one end entity is material for building its chain. Of a file that is
signed as a whole the content counts, as if it had come alone: the signature is not verified, because the certificate
is judged on its own (acx.md 4.1), and the signer's certificates are chain material. Everything else is a
:class:`ContentError`, whose text goes to the partner.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from asn1crypto import cms, pkcs12
from asn1crypto import keys as keys_

from oftp2.certs.facts import CertificateFacts, UnreadableCertificateError

MAX_CONTENT = 65_536
"""Octets; a certificate has one to four thousand."""

_BEGIN = b"-----BEGIN "
_DASHES = b"-----"
_LABEL = re.compile(rb"[A-Z0-9 ]+")
_CERTIFICATE_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_CMS_LABELS = frozenset({b"PKCS7", b"CMS"})
_SEQUENCE = b"\x30"
_PRIVATE = "the file holds a private key, which must never leave its owner"
_PRIVATE_FORMS = (
    (keys_.PrivateKeyInfo, "private_key_algorithm"),
    (keys_.EncryptedPrivateKeyInfo, "encryption_algorithm"),
    (keys_.RSAPrivateKey, "modulus"),
    (pkcs12.Pfx, "auth_safe"),
)
"""What a private key may lie in, in DER, and a field that such a thing has."""
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)
"""What the parser raises for octets that are something else."""
_BLANKS = b"\xef\xbb\xbf \t\r\n"


class ContentError(ValueError):
    """The content is not one certificate; the message is meant for the partner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was in the file: the certificate, and others that may belong to its chain."""

    facts: CertificateFacts
    chain: tuple[CertificateFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignedData:
    """The parts of a CMS SignedData that matter here."""

    certificates: tuple[bytes, ...]
    content: bytes | None
    signed: bool


def read_certificate(octets: bytes) -> Content:
    """Read the one certificate out of a received file of at most 64 KiB, signed once or not at all.

    Raises :class:`ContentError`.
    """
    _check(octets)
    message = _signed_data(octets)
    if message is None or message.content is None:
        return _one(_certificates(octets, message, keys=False))
    _check(message.content)
    return _one(certificates_in(message.content), tuple(_readable(message.certificates)))


def is_xml(octets: bytes) -> bool:
    """Whether it is an XML document, which no message of the exchange is (acx.md 7)."""
    return octets.lstrip(_BLANKS).startswith(b"<")


def _check(octets: bytes) -> None:
    if len(octets) > MAX_CONTENT:
        raise ContentError(f"the file has {len(octets)} octets, a certificate has at most {MAX_CONTENT}")
    if is_xml(octets):
        raise ContentError("XML certificate messages are not supported")


def certificates_in(octets: bytes, *, keys: bool = False) -> tuple[CertificateFacts, ...]:
    """Every certificate in DER, PEM or a certs-only CMS message, each once; raises :class:`ContentError`.

    ``keys`` passes over private keys in PEM; without it they are refused.
    """
    return _certificates(octets, _signed_data(octets), keys=keys)


def _certificates(octets: bytes, message: _SignedData | None, *, keys: bool) -> tuple[CertificateFacts, ...]:
    """Those in the octets, which are the message, if there is one."""
    if not octets:
        raise ContentError("the file is empty")
    try:
        found = list(_armoured(octets, keys=keys)) if _BEGIN in octets else _plain(octets, message)
        certificates = tuple({facts.fingerprint: facts for facts in map(CertificateFacts.of, found)}.values())
    except UnreadableCertificateError as error:
        raise ContentError(_PRIVATE if _is_private_key(octets) else str(error)) from error
    if not certificates:
        raise ContentError("the file holds no certificate")
    return certificates


def _one(certificates: Sequence[CertificateFacts], material: Sequence[CertificateFacts] = ()) -> Content:
    """The one end entity among several; a single certificate is taken whatever it is, and judged later.

    ``material`` came beside them: it belongs to the chain at most.
    """
    entities = [facts for facts in certificates if not facts.is_ca] if len(certificates) > 1 else certificates
    if len(entities) != 1:
        raise ContentError(f"the file holds {len(entities)} end-entity certificates, expected is one")
    chain = {facts.fingerprint: facts for facts in (*certificates, *material)}
    del chain[entities[0].fingerprint]
    return Content(facts=entities[0], chain=tuple(chain.values()))


def _readable(certificates: Iterable[bytes]) -> Iterator[CertificateFacts]:
    """Those that can be read: a signer with an exotic one does not spoil what it signed."""
    for der in certificates:
        with suppress(UnreadableCertificateError):
            yield CertificateFacts.of(der)


def _plain(octets: bytes, message: _SignedData | None) -> Sequence[bytes]:
    if message is None:
        return [octets]
    if message.signed or message.content is not None:
        raise ContentError("the file is a signed CMS message, expected is one certificate")
    return message.certificates


def _armoured(octets: bytes, *, keys: bool) -> Iterator[bytes]:
    for label, body in _sections(octets):
        if b"PRIVATE KEY" in label and not keys:
            raise ContentError(_PRIVATE)
        if label not in _CERTIFICATE_LABELS | _CMS_LABELS:
            continue
        try:
            decoded = b64decode(b"".join(body.split()), validate=True)
        except ValueError as error:
            raise ContentError(f"the PEM armour is damaged ({error})") from error
        yield from _plain(decoded, _signed_data(decoded)) if label in _CMS_LABELS else [decoded]


def _sections(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The label and body of each PEM section. Searched piece by piece: a pattern would take seconds for a hostile file."""
    at = 0
    while (begin := octets.find(_BEGIN, at)) >= 0:
        at = begin + len(_BEGIN)
        label = octets[at : octets.find(_DASHES, at)]
        end_line = _DASHES + b"END " + label + _DASHES
        end = octets.find(end_line, at)
        if end >= 0 and _LABEL.fullmatch(label):
            yield label, octets[at + len(label) + len(_DASHES) : end]
            at = end + len(end_line)


def _signed_data(octets: bytes) -> _SignedData | None:
    """The parts of a SignedData; ``None`` when it is no SignedData at all."""
    if not octets.startswith(_SEQUENCE):
        return None  # what begins with anything else may take the parser a second
    try:
        info = cms.ContentInfo.load(octets, strict=True)
        if info["content_type"].native != "signed_data":
            return None
        signed = info["content"]
        members = [choice for choice in signed["certificates"] if choice.name == "certificate"]
        content = signed["encap_content_info"]["content"]
        return _SignedData(
            certificates=tuple(member.chosen.dump() for member in members),
            content=None if content.native is None else bytes(content),
            signed=bool(signed["signer_infos"]),
        )
    except _UNREADABLE:
        return None


def _is_private_key(octets: bytes) -> bool:
    """Whether what is no certificate is somebody's private key in DER, alone or in PKCS#12."""
    for form, field in _PRIVATE_FORMS:
        with suppress(*_UNREADABLE):
            _ = form.load(octets, strict=True)[field].native
            return True
    return False
