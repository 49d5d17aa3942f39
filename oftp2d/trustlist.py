"""The trust list of the Odette: which certification authorities are accepted for OFTP2 (acx.md 10.2).

A Trust Service Status List of ETSI TS 102 231, XML with an enveloped signature. Each entry names an authority that issues
certificates, and the chain above it up to the root, which is there to verify the authority and is trusted for nothing
itself. What is read here is what was signed, and nothing beside it; whether the signer is the right one is known
by its fingerprint, and is the caller's to say.

The octets come from a network and are hostile until their signature was verified: size, depth, elements and attributes are
bounded before a tree is made of them, and there is no document type, no entity, no encoding but UTF-8. Reading takes up to
seconds and belongs in a worker. lxml and signxml are loaded when the first list is read: a station without one has no use
for them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm

from oftp2.certs.facts import CertificateFacts, UnreadableCertificateError
from oftp2d.credentials import issued

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

MAX_OCTETS: Final = 10 * 1024 * 1024
IN_ACCORD: Final = "http://uri.etsi.org/TrstSvc/Svcstatus/inaccord"
"""The status of a service that is accepted."""

MAX_DEPTH: Final = 32
MAX_PARTS: Final = 200_000
"""Elements, attributes, comments and processing instructions; real lists have some ten thousand."""
MAX_ATTRIBUTES: Final = 32
"""Of one element."""
MAX_SIGNERS: Final = 5
"""Certificates that come with the signature: the signer's and perhaps those above it."""
MAX_CERTIFICATES: Final = 5000
MAX_IN_ENTRY: Final = 16
MAX_CERTIFICATE: Final = 64 * 1024
"""Characters of a certificate in Base64."""
MAX_NAME: Final = 200

_T: Final = "{http://uri.etsi.org/02231/v2#}"
_D: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_CANONICAL: Final = frozenset(
    {
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments",
        "http://www.w3.org/2006/12/xml-c14n11",
        "http://www.w3.org/2006/12/xml-c14n11#WithComments",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
    }
)
_ENCODINGS: Final = frozenset({"utf-8", "us-ascii", "ascii"})

ISSUE_TOLERANCE: Final = timedelta(days=1)
"""How far outside the period of its signer a list may be issued: its time is often a date alone."""


class TrustListError(ValueError):
    """The octets are no trust list that can be used; the message says why, in one clause."""


class UnknownSignerError(TrustListError):
    """Another has signed it than was expected. ``fingerprint`` is that of the first certificate it came with."""

    def __init__(self, found: CertificateFacts) -> None:
        super().__init__(f"it is signed by another than before: {found.subject}, SHA-256 {found.fingerprint}")
        self.fingerprint = found.fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One service of a provider: an authority with the chain that verifies it."""

    provider: str
    service: str
    status: str
    """The address (URI) that stands for the status."""
    certificates: tuple[CertificateFacts, ...]
    complete: bool = True
    """Whether all of its certificates can be read; without one of them it is not known which are the issuing ones."""

    @property
    def accepted(self) -> bool:
        """Whether its authorities are trusted."""
        return self.complete and self.status == IN_ACCORD

    @property
    def authorities(self) -> tuple[CertificateFacts, ...]:
        """Those that issued none of the others: the issuing authorities (Odette test case 7.3)."""
        return tuple(
            facts
            for facts in self.certificates
            if not any(_stands_above(facts, other) for other in self.certificates if other is not facts)
        )

    @property
    def name(self) -> str:
        """The service with its provider."""
        return self.service if self.provider in self.service else f"{self.service} of {self.provider}"


@dataclass(frozen=True, kw_only=True)
class TrustList:
    """A trust list whose signature holds."""

    scheme: str
    sequence: int
    issued_at: datetime
    next_update: datetime | None
    """When the next one is to come at the latest; None for the last one of its scheme."""
    signer: CertificateFacts
    entries: tuple[Entry, ...]

    @cached_property
    def authorities(self) -> Mapping[str, CertificateFacts]:
        """The authorities that are trusted, by fingerprint."""
        accepted = (entry for entry in self.entries if entry.accepted)
        return {facts.fingerprint: facts for entry in accepted for facts in entry.authorities}

    @cached_property
    def others(self) -> Mapping[str, tuple[CertificateFacts, str]]:
        """All else that is in it, by fingerprint, with what the list has it for: chain material, not trusted."""
        found: dict[str, tuple[CertificateFacts, str]] = {}
        # What an accepted entry says of a certificate goes before what others say.
        for entry in sorted(self.entries, key=lambda entry: entry.accepted):
            found |= {facts.fingerprint: (facts, _purpose(entry)) for facts in entry.certificates}
        return {fingerprint: pair for fingerprint, pair in found.items() if fingerprint not in self.authorities}

    def overdue(self, now: datetime) -> bool:
        """Whether the next one should have come."""
        return self.next_update is not None and now > self.next_update


def read(octets: bytes, *, signers: Collection[str] | None, max_octets: int = MAX_OCTETS) -> TrustList:
    """The list in ``octets``, signed by one of ``signers`` (fingerprints), or by whoever it names where that is None.

    Raises:
        UnknownSignerError: another has signed it.
        TrustListError: it is no such list, its signature does not hold, or it is larger than it may be.
    """
    if len(octets) > max_octets:
        raise TrustListError(f"it has more than {max_octets} octets")
    _survey(octets)
    root = _parsed(octets)
    if root.tag != f"{_T}TrustServiceStatusList":
        raise TrustListError(f"it is no trust list of TS 102 231, but {_line(str(root.tag))}")
    signature = _signature(root)
    _check_reference(signature)
    signed, signer = _verified(root, _shown(signature), signers)
    found = _list(signed, signer)
    if not signer.not_before - ISSUE_TOLERANCE <= found.issued_at <= signer.not_after + ISSUE_TOLERANCE:
        raise TrustListError(
            f"it was issued on {found.issued_at:%F}, when the certificate of its signer was not valid"
            f" ({signer.not_before:%F} to {signer.not_after:%F})"
        )
    return found


# --- before a tree is made --------------------------------------------------------------------------------------


class _Survey:
    """Counts what a document has, and ends the reading where it has too much of it or what it may not have at all."""

    def __init__(self) -> None:
        self.depth = 0
        self.parts = 0

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise TrustListError(f"its encoding is {_line(encoding)}, not UTF-8")

    def doctype(self, *_: object) -> None:
        raise TrustListError("it has a document type, which a trust list does not need")

    def start(self, _name: str, attributes: Sequence[str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TrustListError(f"its elements are nested deeper than {MAX_DEPTH}")
        if len(attributes) > 2 * MAX_ATTRIBUTES:
            raise TrustListError(f"an element has more than {MAX_ATTRIBUTES} attributes")
        self._count(1 + len(attributes) // 2)

    def other(self, *_: str) -> None:
        """A comment or a processing instruction."""
        self._count(1)

    def _count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise TrustListError(f"it has more than {MAX_PARTS} elements and attributes")

    def end(self, _name: str) -> None:
        self.depth -= 1


def _survey(octets: bytes) -> None:
    """Refuse what is not worth a tree, in constant memory."""
    from xml.parsers import expat  # noqa: PLC0415 - without document types there are no entities; only with a list

    parser, survey = expat.ParserCreate("utf-8"), _Survey()
    parser.ordered_attributes = True
    parser.XmlDeclHandler = survey.declaration
    parser.StartDoctypeDeclHandler = survey.doctype
    parser.StartElementHandler = survey.start
    parser.EndElementHandler = survey.end
    parser.CommentHandler = survey.other
    parser.ProcessingInstructionHandler = survey.other
    try:
        parser.Parse(octets, True)  # noqa: FBT003 - it takes no names
    except expat.ExpatError as error:
        raise TrustListError(f"it is not well-formed XML ({error})") from None


def _parser() -> Any:
    from lxml import etree  # noqa: PLC0415 - only with a list

    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        collect_ids=False,
    )


def _parsed(octets: bytes) -> Element:
    from lxml import etree  # noqa: PLC0415 - only with a list

    try:
        return etree.fromstring(octets, _parser())
    except etree.XMLSyntaxError as error:
        raise TrustListError(f"it is not well-formed XML ({error})") from None


# --- the signature ----------------------------------------------------------------------------------------------


def _signature(root: Element) -> Element:
    """The one signature, a child of the root: one anywhere else may speak of another part of the document."""
    found = list(root.iter(f"{_D}Signature"))
    if not found:
        raise TrustListError("it is not signed")
    if len(found) > 1 or found[0].getparent() is not root:
        raise TrustListError("it has more than one signature, or one that is not of the whole document")
    return found[0]


def _check_reference(signature: Element) -> None:
    """The signature is of the whole document, but for itself, and of nothing else (XML signature wrapping)."""
    information = _only(signature, f"{_D}SignedInfo", "its signature")
    _only(signature, f"{_D}SignatureValue", "its signature")
    method = _only(information, f"{_D}CanonicalizationMethod", "its signature")
    _only(information, f"{_D}SignatureMethod", "its signature")
    reference = _only(information, f"{_D}Reference", "its signature")
    if reference.get("URI") != "":
        raise TrustListError("its signature is not of the whole document")
    _only(reference, f"{_D}DigestMethod", "its signature")
    _only(reference, f"{_D}DigestValue", "its signature")
    transforms = [
        transform.get("Algorithm")
        for transform in _only(reference, f"{_D}Transforms", "its signature").iterchildren(tag=f"{_D}Transform")
    ]
    canonical = [algorithm for algorithm in transforms if algorithm != _ENVELOPED]
    if (
        transforms.count(_ENVELOPED) != 1
        or len(canonical) > 1
        or not {*canonical, method.get("Algorithm")} <= _CANONICAL
    ):
        raise TrustListError("its signature changes the document before it signs it, other than by leaving itself out")


def _shown(signature: Element) -> list[CertificateFacts]:
    """The certificates that came with the signature."""
    path = f"{_D}KeyInfo/{_D}X509Data/{_D}X509Certificate"
    texts = [element.text or "" for element in signature.iterfind(path)][: MAX_SIGNERS + 1]
    if not 1 <= len(texts) <= MAX_SIGNERS:
        raise TrustListError("its signature does not come with the certificate of its signer")
    try:
        return [_certificate(text) for text in texts]
    except ValueError as error:
        raise TrustListError(f"the certificate of its signer cannot be read ({error})") from None


def _verified(
    root: Element, shown: Sequence[CertificateFacts], signers: Collection[str] | None
) -> tuple[Element, CertificateFacts]:
    """The document as it was signed, and by whom."""
    from lxml import etree  # noqa: PLC0415 - only with a list
    from signxml.algorithms import DigestAlgorithm, SignatureMethod  # noqa: PLC0415
    from signxml.exceptions import SignXMLException  # noqa: PLC0415
    from signxml.verifier import SignatureConfiguration, XMLVerifier  # noqa: PLC0415

    expected = [facts for facts in shown if signers is None or facts.fingerprint in signers]
    if not expected:
        raise UnknownSignerError(shown[0])
    problem = ""
    for facts in expected:
        configuration = SignatureConfiguration(
            location="./",
            signature_methods=frozenset(method for method in SignatureMethod if _is_strong(method.name)),
            digest_algorithms=frozenset(method for method in DigestAlgorithm if "SHA1" not in method.name),
            # The certificate of the signer says all; its period is compared with the time of issue that was signed.
            ignore_ambiguous_key_info=True,
            verification_time=facts.not_after,
        )
        try:
            result = XMLVerifier().verify(
                root,
                x509_cert=facts.certificate,
                expect_config=configuration,
                validate_schema=False,
                parser=_parser(),
            )
        except (
            SignXMLException,
            etree.LxmlError,
            UnsupportedAlgorithm,
            NotImplementedError,
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
        ) as error:
            problem = _line(str(error))
            continue
        signed = result[0] if isinstance(result, list) else result
        return _parsed(signed.signed_data), facts
    raise TrustListError(f"its signature does not hold ({problem})")


def _is_strong(method: str) -> bool:
    return method.startswith(("RSA_", "ECDSA_", "SHA")) and "SHA1" not in method


# --- what was signed --------------------------------------------------------------------------------------------


def _list(root: Element, signer: CertificateFacts) -> TrustList:
    information = _only(root, f"{_T}SchemeInformation", "it")
    sequence = _text(information, "TSLSequenceNumber")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) < _DIGITS):
        raise TrustListError("it has no sequence number")
    issued_at = _moment(_text(information, "ListIssueDateTime"))
    if issued_at is None:
        raise TrustListError("it does not say when it was issued")
    scheme = _named(information, "SchemeName")
    if not scheme:
        raise TrustListError("it does not say of which scheme it is")
    return TrustList(
        scheme=scheme,
        sequence=int(sequence),
        issued_at=issued_at,
        next_update=_moment(_text(information, "NextUpdate", "dateTime")),
        signer=signer,
        entries=tuple(_entries(root)),
    )


_DIGITS: Final = 19
"""One more than a sequence number may have."""


def _entries(root: Element) -> Iterator[Entry]:
    room = MAX_CERTIFICATES
    for provider in root.iterfind(f"{_T}TrustServiceProviderList/{_T}TrustServiceProvider"):
        name = _named(provider, "TSPInformation", "TSPName")
        for information in provider.iterfind(f"{_T}TSPServices/{_T}TSPService/{_T}ServiceInformation"):
            entry = replace(_entry(information), provider=name)
            room -= len(entry.certificates)
            if room < 0:
                raise TrustListError(f"it has more than {MAX_CERTIFICATES} certificates")
            yield entry


def _entry(information: Element) -> Entry:
    path = f"{_T}ServiceDigitalIdentity/{_T}DigitalId/{_T}X509Certificate"
    texts = [element.text or "" for element in information.iterfind(path)]
    if len(texts) > MAX_IN_ENTRY:
        raise TrustListError(f"one of its entries has more than {MAX_IN_ENTRY} certificates")
    found: dict[str, CertificateFacts] = {}
    complete = True
    for text in texts:
        try:
            facts = _certificate(text)
        except ValueError:
            complete = False
        else:
            found[facts.fingerprint] = facts
    return Entry(
        provider="",
        service=_named(information, "ServiceName"),
        status=_text(information, "ServiceStatus"),
        certificates=tuple(found.values()),
        complete=complete,
    )


def _stands_above(upper: CertificateFacts, lower: CertificateFacts) -> bool:
    """Whether one is there to verify the other.

    By its name already: a signature that cannot be verified here must not make an authority of a root. Only where the lower
    one bears that name too, a key that followed another, does the signature tell.
    """
    if lower.issuer == lower.subject:
        return issued(upper, lower)
    return upper.subject == lower.issuer


def _purpose(entry: Entry) -> str:
    if not entry.complete:
        return f"whose entry in the trust list, {entry.name}, cannot be read as a whole"
    if entry.status != IN_ACCORD:
        status = entry.status.rpartition("/")[2] or "missing"
        return f"whose status in the trust list is {status!r} instead of 'inaccord' ({entry.name})"
    return f"which the trust list names only to verify its issuing authorities ({entry.name})"


# --- pieces -----------------------------------------------------------------------------------------------------


def _only(parent: Element, tag: str, whose: str) -> Element:
    found = list(parent.iterchildren(tag=tag))
    if len(found) != 1:
        raise TrustListError(f"{whose} has {len(found) or 'no'} {tag.partition('}')[2]}, which must be there once")
    return found[0]


def _text(parent: Element, *names: str) -> str:
    """What stands in the first element of that path; empty where there is none."""
    return _line(parent.findtext("/".join(f"{_T}{name}" for name in names)) or "")


def _named(parent: Element, *names: str) -> str:
    """A name, which is there in one or more languages: the English one, or the first."""
    found = list(parent.iterfind("/".join(f"{_T}{name}" for name in (*names, "Name"))))
    english = [element for element in found if (element.get(_LANGUAGE) or "").lower() == "en"]
    return next((_line(element.text or "") for element in (*english, *found)), "")


def _line(text: str) -> str:
    """Text that people will see: one line, of a length to be borne, without what a terminal would obey."""
    line = " ".join(text[: 4 * MAX_NAME].split())[:MAX_NAME]
    return "".join(character if character.isprintable() else "?" for character in line)


def _moment(text: str) -> datetime | None:
    """A time as XML Schema has it, UTC where it does not say otherwise."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _certificate(text: str) -> CertificateFacts:
    """A certificate in Base64; raises ValueError."""
    if len(text) > MAX_CERTIFICATE:
        raise ValueError("it is too large")
    try:
        return CertificateFacts.of(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, UnreadableCertificateError) as error:
        raise ValueError(str(error)) from None
