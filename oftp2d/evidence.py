"""The evidence file: a signed end response that proves by itself, and for ever, what became of a file.

One text file for people and for machines: a header, the signature as CMS with what was signed inside, and the certificate
that made it with those above it. What counts is the CMS. Every line of the header that can be made from it must be as it
would be made; what only the station has noted stands apart, and says so. ``openssl cms -verify`` reads the file as it is.
Nothing here needs a station.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import BinaryIO, Final, NoReturn

from oftp2.certs.acceptance import TrustVerdict
from oftp2.certs.facts import CertificateFacts, UnreadableCertificateError
from oftp2.certs.names import SERIAL_NUMBER
from oftp2.cms.attached import content_of, read_content, with_content
from oftp2.cms.errors import CmsError
from oftp2.cms.receipts import signed_content, verify
from oftp2.cms.suites import WEAK, CipherSuite, suite
from oftp2.commands import EndResponse, Nerp
from oftp2d.errors import OperatorError
from oftp2d.logs import escaped
from oftp2d.trust import MAX_CHAIN, Anchor, Trust

LARGEST: Final = 1024 * 1024
"""Octets of an evidence file: a signature has at most 65,535, a certificate some thousand."""

_PIECE: Final = 1024 * 1024
_WIDTH: Final = 24
_TITLE: Final = "Evidence of an end response"
_MOMENT: Final = "%Y-%m-%dT%H:%M:%SZ"
"""As moments are read; ``_said`` writes them so, with four digits to each year."""
_SUITE: Final = "Cipher suite"
_NOTED_AT: Final = "Noted at"
_NOTED: Final = ("User data", "Reason", "Text", "Size", _SUITE, "Hash algorithm", _NOTED_AT)
"""The lines that nothing signed bears out."""

_OPENSSL: Final = (
    "openssl cms -verify -binary -inform PEM -in FILE -certfile FILE -CAfile ANCHORS.pem -partial_chain -purpose any"
)
_ODETTE_ID: Final = re.compile(r"O[0-9]{4}[0-9A-Z /.&()_-]{1,20}")
"""RFC 5024 section 5.4. Authorities write other numbers into serialNumber, too."""
_SUBADDRESS_AT: Final = 19
_LINE: Final = re.compile(r"^  (?! )([^:\n]+):( +[^\n]*)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z]+)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n")

Lines = Mapping[str, str]
"""Lines of the header by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A signed end response, and all that it takes to verify it."""

    command: EndResponse
    """As it went over the wire."""
    suite: CipherSuite
    """That of the file (SFIDCIPH)."""
    octets: int
    """Of the Virtual File as it was transmitted."""
    signer: CertificateFacts
    chain: tuple[CertificateFacts, ...] = ()
    """The authorities above the signer, as far as they are known."""
    signed_at: datetime | None
    """As the signer says."""
    noted_at: datetime
    """When the end response came, or was made by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One question about an evidence file, and its answer."""

    subject: str
    holds: bool | None
    """None: it was not looked at."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What an evidence file proves, and what not."""

    steps: tuple[Step, ...]
    signed: Lines
    """The end response, as far as it is signed; empty where the signature does not hold."""
    noted: Lines

    @property
    def ok(self) -> bool:
        """Whether all holds that was asked."""
        return all(step.holds is not False for step in self.steps)


# --- writing ---------------------------------------------------------------------------------------------------------


def render(evidence: Evidence) -> str:
    """The evidence file; the same for the same evidence. A signature that came detached gets its content.

    Raises :class:`CmsError` for a signature that cannot be read.
    """
    signature = evidence.command.signature
    if content_of(signature) is None:
        signature = with_content(signature, signed_content(evidence.command))
    header = _header(_signed(evidence.command), _signer(evidence.signer, evidence.signed_at), _noted(evidence))
    certificates = (_pem("CERTIFICATE", each.der) for each in (evidence.signer, *evidence.chain[:MAX_CHAIN]))
    return "".join((header, _pem("CMS", signature), *certificates))


def _signed(command: EndResponse) -> Lines:
    """What is signed, as RFC 5024 sections 5.3.13 and 5.3.14 list it."""
    return {
        "End response": "NERP, the file was refused" if isinstance(command, Nerp) else "EERP, the file was taken over",
        "File": command.dataset,
        "Date and time": f"{command.date} {command.time}",
        "Originator of the file": command.destination,
        "Destination of the file": command.originator,
        **({"Refused by": command.creator} if isinstance(command, Nerp) and command.creator else {}),
        "Hash of the file": command.hash.hex(),
    }


def _signer(signer: CertificateFacts, signed_at: datetime | None) -> Lines:
    return {
        "Signer": escaped(str(signer.subject)),
        "Issuer": escaped(str(signer.issuer)),
        "Serial number": f"{signer.serial:x}",
        "SHA-256 fingerprint": signer.fingerprint,
        "Signed at": "not said" if signed_at is None else _said(signed_at),
    }


def _noted(evidence: Evidence) -> Lines:
    command = evidence.command
    if isinstance(command, Nerp):
        told = {"Reason": f"{command.reason:02}, {command.reason.meaning}", "Text": escaped(command.text)}
    else:
        told = {"User data": command.user}
    return {
        **{name: value for name, value in told.items() if value},
        "Size": f"{evidence.octets} octets",
        **_of_suite(evidence.suite),
        _NOTED_AT: _said(evidence.noted_at),
    }


def _of_suite(used: CipherSuite) -> Lines:
    return {_SUITE: str(used), "Hash algorithm": str(used.digest)}


def _header(signed: Lines, signer: Lines, noted: Lines) -> str:
    at = datetime.strptime(_moment(signer, noted), _MOMENT).replace(tzinfo=UTC)
    return "\n".join(
        (
            _TITLE,
            "",
            "What is signed:",
            *_listed(signed),
            "",
            "Who signed it:",
            *_listed(signer),
            "",
            "What the station noted, which is not signed:",
            *_listed(noted),
            "",
            "How to verify it, ANCHORS.pem being the authorities you trust:",
            "    oftp2d evidence verify FILE --trust ANCHORS.pem",
            f"    {_OPENSSL} -attime {at.timestamp():.0f} -out SIGNED",
            "",
            "",
        )
    )


def _said(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(signer: Lines, noted: Lines) -> str:
    """The moment that counts for certificates, as its line has it: when it was signed, else when it was noted."""
    said = signer["Signed at"]
    return noted[_NOTED_AT] if said == "not said" else said


def _listed(lines: Lines) -> list[str]:
    return [f"  {f'{name}:':{_WIDTH}} {value}" for name, value in lines.items()]


def _pem(name: str, octets: bytes) -> str:
    text = b64encode(octets).decode("ascii")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n"


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An evidence file taken apart; nothing of it is believed yet."""

    header: str
    lines: Lines
    signature: bytes
    suite: CipherSuite
    certificates: tuple[CertificateFacts, ...]
    noted_at: datetime


def verify_evidence(
    octets: bytes, *, virtual_file: BinaryIO | None = None, anchors: Sequence[CertificateFacts] | None = None
) -> Verification:
    """Look at everything in an evidence file that can be proven. Takes as long as it takes to read ``virtual_file``.

    ``virtual_file``: the file as it was transmitted. ``anchors``: the authorities to trust, and what else to build a chain
    with is in the file. Raises :class:`OperatorError` for what is no evidence file.
    """
    found = _parse(octets)
    signer = found.certificates[0]
    noted = {**{name: value for name, value in found.lines.items() if name in _NOTED}, **_of_suite(found.suite)}
    try:
        command = _command(found)
        signature = verify(command, [signer.certificate], found.suite).signatures[0]
    except CmsError as error:
        asked = [name for name, given in (("file", virtual_file), ("trust", anchors)) if given is not None]
        idle = "was not looked at, since nothing is proven without the signature"
        steps = [Step(subject="signature", holds=False, what=str(error))]
        steps += [Step(subject=name, holds=None, what=idle) for name in ("signer", "header", *asked)]
        return Verification(steps=tuple(steps), signed={}, noted=noted)
    signed_at = signature.signing_time
    return Verification(
        steps=(
            _proven(command, signer, found.suite, signed_at),
            _identified(command, signer),
            _compared(found, _signed(command), _signer(signer, signed_at), noted),
            _hashed(command, found.suite, virtual_file),
            _trusted(found, signed_at or found.noted_at, anchors),
        ),
        signed=_signed(command),
        noted=noted,
    )


def _parse(octets: bytes) -> _Found:
    if len(octets) > LARGEST:
        _refuse(f"it has more than {LARGEST} octets")
    try:
        text = octets.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        _refuse("it is no text")
    header, begin, rest = text.partition("-----BEGIN ")
    blocks = list(_BLOCK.finditer(begin + rest))
    names = [block[1] for block in blocks]
    if names[:1] != ["CMS"] or set(names[1:]) != {"CERTIFICATE"} or len(names) > MAX_CHAIN + 2:
        _refuse("it does not hold one signature (CMS), and its certificates behind it")
    if "".join(block[0] for block in blocks) != begin + rest:
        _refuse("there is something between or behind its parts")
    found = [(name, _value(name, rest)) for name, rest in _LINE.findall(header)]
    lines = dict(found)
    if len(lines) != len(found):
        _refuse("a line of its header is there twice")
    try:
        signature, *certificates = (b64decode(block[2].replace("\n", ""), validate=True) for block in blocks)
        return _Found(
            header=header,
            lines=lines,
            signature=signature,
            suite=suite(int(lines[_SUITE][:2])),
            certificates=tuple(CertificateFacts.of(each) for each in certificates),
            noted_at=datetime.strptime(lines[_NOTED_AT], _MOMENT).replace(tzinfo=UTC),
        )
    except KeyError as error:
        _refuse(f"its header has no line {error}")
    except UnreadableCertificateError:
        _refuse("one of its certificates cannot be read")
    except ValueError:
        _refuse("a part of it, or a line of its header, is not written as it has to be")


def _value(name: str, rest: str) -> str:
    """What a line of the header says; blanks at the beginning of it are its own."""
    before = " " * (_WIDTH - len(name))
    return rest.removeprefix(before) if rest.startswith(before) else rest.lstrip(" ")


def _refuse(why: str) -> NoReturn:
    raise OperatorError(f"this is no evidence file: {why}", "take it as 'oftp2d evidence export' has written it")


def _command(found: _Found) -> EndResponse:
    """The end response as far as it is signed. Raises :class:`CmsError`."""
    content = content_of(found.signature)
    if content is None:
        raise CmsError("what is signed is not in it")
    return replace(read_content(content, hash_octets=found.suite.digest_octets), signature=found.signature)


def _proven(command: EndResponse, signer: CertificateFacts, used: CipherSuite, signed_at: datetime | None) -> Step:
    kind = "NERP" if isinstance(command, Nerp) else "EERP"
    when = "without saying when" if signed_at is None else f"on {_said(signed_at)}, as it says"
    weak = "; SHA-1 proves little today" if used.number in WEAK else ""
    what = (
        f"the key of {signer.subject}, serial number {signer.serial:x}, SHA-256 fingerprint {signer.fingerprint}, signed the"
        f" {kind} for {command.dataset} of {command.date} {command.time} from {command.destination} to"
        f" {command.originator}, {when}{weak}"
    )
    return Step(subject="signature", holds=True, what=escaped(what))


def _identified(command: EndResponse, signer: CertificateFacts) -> Step:
    """Whether the certificate is that of the station that answered, as far as its subject says.

    The same authority issues certificates to others, too: that it can be trusted does not say who signed.
    """
    station = command.station
    numbers = [each.value for each in signer.subject.attributes if each.oid == SERIAL_NUMBER]
    others = [each for each in numbers if _ODETTE_ID.fullmatch(each)]
    beside = f"{station} answered, and the certificate is that of {signer.subject}"
    holds: bool | None
    if station in numbers:
        holds, what = True, f"{station} answered, and that is the station its certificate names"
    elif any(_organisation(each) == _organisation(station) for each in others):
        holds, what = None, f"its certificate names another station of the same organisation: {beside}"
    elif others:
        holds, what = False, f"its certificate names another station, {others[0]}: {beside}"
    else:
        holds, what = None, f"its certificate names no station, whose it is remains for you to compare: {beside}"
    return Step(subject="signer", holds=holds, what=escaped(what))


def _organisation(code: str) -> str:
    """An Odette ID without its last part, the subaddress: what is registered."""
    return code.ljust(_SUBADDRESS_AT)[:_SUBADDRESS_AT]


def _compared(found: _Found, signed: Lines, signer: Lines, noted: Lines) -> Step:
    """Whether the header says what is signed, and nothing besides."""
    due = {**signed, **signer, **noted}
    false = [
        f"{name} is {due[name]!r}, not {found.lines[name]!r}" if name in found.lines else f"{name} is missing"
        for name in due
        if found.lines.get(name) != due[name]
    ]
    false += [f"{name} is no line of it" for name in found.lines if name not in due]
    if not false and found.header != _header(signed, signer, noted):
        false = ["its text was changed"]
    if false:
        return Step(subject="header", holds=False, what=escaped(f"the header is false: {'; '.join(false)}"))
    told = ", ".join(name for name in noted if name not in {_SUITE, _NOTED_AT})
    return Step(
        subject="header", holds=True, what=f"the header says what is signed; not signed is what was noted: {told}"
    )


def _hashed(command: EndResponse, used: CipherSuite, virtual_file: BinaryIO | None) -> Step:
    if virtual_file is None:
        what = "not asked; with --file the file as it was transmitted is compared with the hash that is signed"
        return Step(subject="file", holds=None, what=what)
    digest = used.new_hash()
    while piece := virtual_file.read(_PIECE):
        digest.update(piece)
    if digest.digest() == command.hash:
        what = f"its {used.digest} is the hash that is signed: this is the file that was answered"
        return Step(subject="file", holds=True, what=what)
    what = f"its {used.digest} is not the hash that is signed: another file was answered, or this is not how it was transmitted"
    return Step(subject="file", holds=False, what=what)


def _trusted(found: _Found, at: datetime, anchors: Sequence[CertificateFacts] | None) -> Step:
    if anchors is None:
        what = "not asked; with --trust it is looked at whether an authority you trust says whose key it is"
        return Step(subject="trust", holds=None, what=what)
    signer, *chain = found.certificates
    try:
        verdict = Trust(tuple(map(Anchor, anchors))).judge(signer, chain, at)
    except OverflowError:  # the end of the year 9999, in which anybody may say to have signed
        verdict = TrustVerdict(trusted=False, text="no certificate is valid so late")
    what = f"{verdict.text}, at {_said(at)}"
    return Step(subject="trust", holds=verdict.trusted, what=escaped(what))
