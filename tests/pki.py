"""The test PKI, built from ``fixtures/pki.toml`` when it is first asked for.

``pki.certificate("CA01")`` is one of the declared certificates; ``pki.make(...)`` is any other: expired, of
the root, self-signed, with other usages. Declared ones have keys of their own. Other
keys come from a pool, because making RSA keys is slow: certificates made one after the other have different keys, distant
ones may share one.

``pki.crl(...)`` and ``pki.trust_list(...)`` make what authorities and the trust list's operator publish, as octets. Where
revocation lists are served (``tests.authority``), declared certificates are asked for with that place, as in
``pki.certificate("CA12", server.url)``: the same names and keys, other distribution points.
"""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any

from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oftp2.cms.keys import Owner, Signer, SoftwareKey

DECLARATION: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent.parent / "fixtures" / "pki.toml").read_text(encoding="utf-8")
)
NOW = datetime.now(UTC).replace(microsecond=0)
"""The moment of the test run, from which all periods count."""

BOTH = ("digitalSignature", "keyEncipherment")
TLS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

NOWHERE = "http://crl.test"
"""Where revocation lists are said to be when nobody serves any."""

TSL_BASE = "http://uri.etsi.org/02231/"
TSL = f"{TSL_BASE}v2#"
TRUST_SERVICES = "http://uri.etsi.org/TrstSvc"
IN_ACCORD = f"{TRUST_SERVICES}/Svcstatus/inaccord"
WITHDRAWN = f"{TRUST_SERVICES}/Svcstatus/expired"

_POOL_SIZE = 24
_turn = count()
_serials = count(0x4F465450_0001)


@cache
def _pooled(index: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def new_key() -> rsa.RSAPrivateKey:
    """A 2048-bit key, other than those of the calls just before."""
    return _pooled(next(_turn) % _POOL_SIZE)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key and the authorities above it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    issuer: Issued | None = None
    station: str | None = None
    """The Odette code of its owner."""

    @cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @cached_property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @cached_property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @cached_property
    def signer(self) -> Signer:
        return Signer(self.certificate, SoftwareKey(self.key))

    @cached_property
    def owner(self) -> Owner:
        return Owner(self.certificate, SoftwareKey(self.key))

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS#8 without a passphrase."""
        return self.encrypted_key_pem(None)

    @property
    def chain(self) -> tuple[Issued, ...]:
        """The authorities above it, its issuer first, the root last."""
        return () if self.issuer is None else (self.issuer, *self.issuer.chain)

    def encrypted_key_pem(self, passphrase: bytes | None) -> bytes:
        protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)

    def pkcs12(self, passphrase: bytes) -> bytes:
        above = [item.certificate for item in self.chain]
        return pkcs12.serialize_key_and_certificates(
            b"test", self.key, self.certificate, above, BestAvailableEncryption(passphrase)
        )


def root(hierarchy: str, lists: str = NOWHERE) -> Issued:
    """The root of hierarchy ``A``, ``B`` or ``outside``; ``lists``: the URL below which revocation lists are found."""
    return _authority(hierarchy, "root", lists)


def issuing(hierarchy: str, lists: str = NOWHERE) -> Issued:
    """The issuing authority of a hierarchy: the one that is an anchor."""
    return _authority(hierarchy, "issuing", lists)


@cache
def _authority(hierarchy: str, level: str, lists: str) -> Issued:
    return make(
        subject=DECLARATION["hierarchy"][hierarchy][level],
        issuer=None if level == "root" else root(hierarchy, lists),
        ca=True,
        key_usage=("keyCertSign", "cRLSign"),
        extended=None,
        hosts=(),
        days=(-1000, 3650),
        key=_own_key(hierarchy, level),
        points=[lists + list_path(hierarchy, "root")],
    )


@cache
def _own_key(*_of: str) -> rsa.RSAPrivateKey:
    """A key that nothing else has: in the order of some run one from the pool could be that of another declared one."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def list_path(hierarchy: str, level: str = "issuing") -> str:
    """The path of the revocation list of an authority, such as ``/a.crl``."""
    path: str = DECLARATION["hierarchy"][hierarchy][f"{level}_list"]
    return path


def certificate(name: str, lists: str = NOWHERE) -> Issued:
    """A certificate of the declaration, such as ``CA01``; the same one whenever it is asked for."""
    return _certificate(name, lists)


@cache
def _certificate(name: str, lists: str) -> Issued:
    declared = DECLARATION["certificate"][name]
    station = DECLARATION["station"][declared["station"]]
    level = declared.get("issuer", "issuing")
    return make(
        subject=DECLARATION["certificate"][declared.get("like", name)]["subject"],
        station=station["code"],
        issuer=_authority(declared["hierarchy"], level, lists),
        key_usage=tuple(declared.get("key_usage", BOTH)),
        extended=None if declared.get("extended") == "none" else TLS,
        hosts=(station["host"],),
        days=tuple(declared["days"]),
        key=_own_key(name),
        points=[lists + list_path(declared["hierarchy"], level)],
    )


def revoked(hierarchy: str, lists: str = NOWHERE) -> tuple[Issued, ...]:
    """What the issuing authority of a hierarchy has revoked by declaration: CA12 of A (Odette test case 7.1)."""
    return tuple(
        certificate(name, lists)
        for name, declared in DECLARATION["certificate"].items()
        if declared.get("revoked") and declared["hierarchy"] == hierarchy
    )


def key(name: str) -> rsa.RSAPrivateKey:
    """The private key of a declared certificate."""
    return certificate(name).key


def pem(name: str) -> bytes:
    """A declared certificate in PEM."""
    return certificate(name).pem


def issuer(name: str) -> Issued:
    """The authority that issued a declared certificate."""
    above = certificate(name).issuer
    assert above is not None
    return above


def make(
    *,
    subject: str | x509.Name = "CN=leaf.test,O=Test,C=DE",
    issuer: Issued | None = None,
    station: str | None = None,
    key: rsa.RSAPrivateKey | Any = None,
    key_usage: Sequence[str] | None = BOTH,
    extended: Sequence[x509.ObjectIdentifier] | None = TLS,
    hosts: Sequence[str] = ("leaf.test",),
    days: Sequence[float] = (-1, 365),
    ca: bool | None = False,
    serial: int | None = None,
    authority_key: bytes | None = None,
    points: Sequence[str] = (f"{NOWHERE}/list.crl",),
) -> Issued:
    """Any certificate; self-signed without ``issuer``. ``None`` for an extension leaves it out.

    ``points`` are the URLs of its CRL distribution points, each in one of its own; a self-signed one has none.

    ``key`` may be a key of any kind; ``days`` are notBefore and notAfter, counted from the test run.
    """
    key = key or new_key()
    name = _with_serial_number(_name(subject), station)
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial or next(_serials))
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    above = (
        x509.AuthorityKeyIdentifier(authority_key, None, None)
        if authority_key
        else x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    )
    builder = builder.add_extension(above, critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(_key_usage(key_usage), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    if issuer is not None and points:
        builder = builder.add_extension(_crl_points(points), critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key, issuer, station)


def sign_request(
    request_pem: bytes, *, issuer: Issued, days: Sequence[float] = (-1, 365), subject: str | None = None
) -> x509.Certificate:
    """What a certification authority answers to a PKCS#10 request: subject, key and extensions, signed."""
    request = x509.load_pem_x509_csr(request_pem)
    assert request.is_signature_valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject) if subject else request.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(request.public_key())
        .serial_number(next(_serials))
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
    )
    return builder.sign(issuer.key, hashes.SHA256())


def _name(subject: str | x509.Name) -> x509.Name:
    return subject if isinstance(subject, x509.Name) else x509.Name.from_rfc4514_string(subject)


def _with_serial_number(name: x509.Name, station: str | None) -> x509.Name:
    if station is None:
        return name
    return x509.Name([*name.rdns, x509.RelativeDistinguishedName([_serial_number(station)])])


def _serial_number(station: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.SERIAL_NUMBER, station)


def _key_usage(names: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digitalSignature" in names,
        content_commitment="nonRepudiation" in names,
        key_encipherment="keyEncipherment" in names,
        data_encipherment="dataEncipherment" in names,
        key_agreement="keyAgreement" in names,
        key_cert_sign="keyCertSign" in names,
        crl_sign="cRLSign" in names,
        encipher_only="encipherOnly" in names,
        decipher_only="decipherOnly" in names,
    )


def _crl_points(urls: Sequence[str]) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]
    )


# --- what authorities and the operator of the trust list publish ------------------------------------------------------


def crl(
    authority: Issued,
    *,
    revoked: Iterable[Issued | int] = (),
    issued: float = 0,
    next_update: float | None = 7,
    number: int | None = 1,
    revoked_at: float = -1,
    signer: Issued | None = None,
    digest: hashes.HashAlgorithm | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    encoding: Encoding = Encoding.DER,
) -> bytes:
    """The revocation list of an authority. ``revoked``: certificates, or serial numbers.

    ``issued``, ``next_update`` and ``revoked_at`` are days from the test run, a ``next_update`` of None is left out; ``signer``:
    who signs it instead of the authority that it names; ``extensions``: further ones, with whether they are critical.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(NOW + timedelta(days=issued))
        .next_update(NOW + timedelta(days=issued if next_update is None else next_update))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for item in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(item if isinstance(item, int) else item.certificate.serial_number)
            .revocation_date(NOW + timedelta(days=revoked_at))
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
            .build()
        )
    made = builder.sign((signer or authority).key, digest or hashes.SHA256())
    if next_update is None:
        made = _without_next_update(made, (signer or authority).key)
    return made.public_bytes(encoding)


def _without_next_update(
    made: x509.CertificateRevocationList, key: rsa.RSAPrivateKey
) -> x509.CertificateRevocationList:
    """The library makes no list that leaves it out, as RFC 5280 section 5.1.2.5 forbids and some authorities do."""
    assert made.signature_hash_algorithm is not None
    loaded = asn1_crl.CertificateList.load(made.public_bytes(Encoding.DER))
    del loaded["tbs_cert_list"]["next_update"]
    tbs = loaded["tbs_cert_list"].dump(force=True)
    loaded["signature"] = key.sign(tbs, padding.PKCS1v15(), made.signature_hash_algorithm)
    return x509.load_der_x509_crl(loaded.dump(force=True))


@dataclass(frozen=True, kw_only=True)
class Service:
    """An entry of the trust list: an issuing authority, and the authorities above it by which it is verified."""

    name: str
    certificates: tuple[Issued, ...]
    status: str = IN_ACCORD


def service(hierarchy: str, lists: str = NOWHERE, *, status: str = IN_ACCORD) -> Service:
    """The entry of a hierarchy: its issuing authority with its root."""
    above = (issuing(hierarchy, lists), root(hierarchy, lists))
    return Service(name=f"Hierarchy {hierarchy}", certificates=above, status=status)


def listed(lists: str = NOWHERE) -> tuple[Service, ...]:
    """The entries of the trust list as declared: hierarchies A and B."""
    return tuple(service(name, lists) for name, declared in DECLARATION["hierarchy"].items() if declared["listed"])


@cache
def list_signer(which: str = "") -> Issued:
    """Who signs the trust list, or another signer of any name."""
    return make(
        subject=DECLARATION["trust_list"]["signer"],
        key_usage=("digitalSignature",),
        extended=None,
        hosts=(),
        days=(-100, 1000),
        key=_own_key("list signer", which),
    )


def trust_list(
    services: Iterable[Service] | None = None,
    *,
    sequence: int = 1,
    signer: Issued | None = None,
    issued: float = 0,
    next_update: float | None = 30,
    scheme: str | None = None,
    digest: str = "sha256",
) -> bytes:
    """A signed trust list (ETSI TS 102 231 v2, signature enveloped), by default of what is declared, by ``list_signer``.

    ``issued`` and ``next_update`` are days from the test run; None does not say when the next one comes.
    ``digest``: of signature and reference, such as ``sha512``.
    """
    document = unsigned_trust_list(
        listed() if services is None else services,
        sequence=sequence,
        issued=issued,
        next_update=next_update,
        scheme=scheme,
    )
    return sign_trust_list(document, signer or list_signer(), digest=digest)


def unsigned_trust_list(
    services: Iterable[Service],
    *,
    sequence: int = 1,
    issued: float = 0,
    next_update: float | None = 30,
    scheme: str | None = None,
) -> bytes:
    """The same before it is signed."""
    from lxml import etree
    from lxml.builder import ElementMaker

    tsl = ElementMaker(namespace=TSL, nsmap={None: TSL})
    english = {"{http://www.w3.org/XML/1998/namespace}lang": "en"}
    operator = "Test Scheme Operator"
    entries = [
        tsl.TrustServiceProvider(
            tsl.TSPInformation(
                tsl.TSPName(tsl.Name(item.name, english)),
                tsl.TSPAddress(tsl.ElectronicAddress(tsl.URI("http://tsp.test/"))),
                tsl.TSPInformationURI(tsl.URI("http://tsp.test/", english)),
            ),
            tsl.TSPServices(
                tsl.TSPService(
                    tsl.ServiceInformation(
                        tsl.ServiceTypeIdentifier(f"{TRUST_SERVICES}/Svctype/CA/PKC"),
                        tsl.ServiceName(tsl.Name(item.name, english)),
                        tsl.ServiceDigitalIdentity(
                            *(
                                tsl.DigitalId(tsl.X509Certificate(base64.encodebytes(each.der).decode()))
                                for each in item.certificates
                            )
                        ),
                        tsl.ServiceStatus(item.status),
                        tsl.StatusStartingTime(_instant(-100)),
                    )
                )
            ),
        )
        for item in services
    ]
    document = tsl.TrustServiceStatusList(
        tsl.SchemeInformation(
            tsl.TSLVersionIdentifier("3"),
            tsl.TSLSequenceNumber(str(sequence)),
            tsl.TSLType("http://uri.etsi.org/TrstSvc/eSigDir-1999-93-EC-TrustedList/TSLType/generic"),
            tsl.SchemeOperatorName(tsl.Name(operator, english)),
            tsl.SchemeName(tsl.Name(scheme or DECLARATION["trust_list"]["scheme"], english)),
            tsl.SchemeInformationURI(tsl.URI("http://operator.test/", english)),
            tsl.StatusDeterminationApproach(f"{TRUST_SERVICES}/StatusDetn/active"),
            tsl.PolicyOrLegalNotice(tsl.TSLLegalNotice("For tests.", english)),
            tsl.HistoricalInformationPeriod("0"),
            tsl.ListIssueDateTime(_instant(issued)),
            tsl.NextUpdate(*() if next_update is None else (tsl.dateTime(_instant(next_update)),)),
        ),
        tsl.TrustServiceProviderList(*entries),
        TSLTag=f"{TSL_BASE}TSLTag",
    )
    octets: bytes = etree.tostring(document, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return octets


def sign_trust_list(document: bytes, signer: Issued, *, digest: str = "sha256") -> bytes:
    """Any XML document with an enveloped signature over all of it, the signer's certificate in its KeyInfo."""
    from lxml import etree
    from signxml import XMLSigner

    how = XMLSigner(
        signature_algorithm=f"rsa-{digest}",
        digest_algorithm=digest,
        c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#",
    )
    signed = how.sign(etree.fromstring(document), key=signer.key, cert=[signer.certificate])
    octets: bytes = etree.tostring(signed, xml_declaration=True, encoding="UTF-8")
    return octets


def _instant(days: float) -> str:
    return (NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
