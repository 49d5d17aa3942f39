"""Certificate Logical Identification Data: whose certificate it is and for what (acx.md 2.4 and 4.3).

Two kinds. A :class:`Clid` is the complete one that travels in SFIDDESC and names the certificate being
replaced. An :class:`Identification` is the partial one that an operator enters before the certificate
arrives.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from oftp2.certs.facts import KEY_USAGE_BITS, CertificateFacts
from oftp2.certs.names import COMMON_NAME, Attribute, DistinguishedName

MAX_DESCRIPTION = 999
"""Octets that SFIDDESC holds (RFC 5024 section 5.3.3)."""

_LINE = re.compile(r"([A-Za-z])\s*=\s*(.*)")
_HEX = re.compile(r"[0-9a-fA-F]+")
_BITS = tuple(KEY_USAGE_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clid:
    """The identification data of one certificate as it travels. ``None`` stands for what is not said."""

    issuer: DistinguishedName
    serial: int
    aki: bytes | None = None
    key_usage: frozenset[str] | None = None
    """``None``: the certificate has no key usage extension."""
    extended: frozenset[str] | None = None
    subject: DistinguishedName | None = None

    @classmethod
    def of(cls, facts: CertificateFacts) -> Clid:
        """The complete identification data of a certificate."""
        own = facts.ski if facts.aki is None and facts.self_signed else facts.aki
        return cls(
            issuer=facts.issuer,
            serial=facts.serial,
            aki=own,
            key_usage=facts.key_usage,
            extended=facts.extended,
            subject=facts.subject,
        )

    def names(self, facts: CertificateFacts) -> bool:
        """Whether it means this very certificate: issuer and serial number are equal."""
        return self.serial == facts.serial and self.issuer == facts.issuer

    def differences(self, other: Clid) -> tuple[str, ...]:
        """The parts in which they are not logically equal; none means they are (acx.md 4.3 item 3)."""
        parts = {
            "subject": self.subject is None or other.subject is None or self.subject == other.subject,
            "issuer": self.issuer == other.issuer,
            "key usage": (self.key_usage or frozenset()) == (other.key_usage or frozenset()),
            "extended key usage": (self.extended is None or other.extended is None or self.extended == other.extended),
        }
        return tuple(part for part, equal in parts.items() if not equal)


def encode(facts: CertificateFacts) -> str | None:
    """The text for SFIDDESC; ``None`` when even the required parts exceed 999 octets, then nothing is said.

    The subject goes first when it is too long, then the extended key usage (acx.md 2.4, OP08 2.5 G).
    """
    clid = Clid.of(facts)
    required = [
        f"I={_base64(facts.issuer)}",
        f"N={_hex_integer(facts.serial)}",
        f"A={(clid.aki or b'').hex()}",
        f"B={key_usage_octets(facts.key_usage).hex()}",
    ]
    extended = [f"E={','.join(sorted(facts.extended))}"] if facts.extended is not None else []
    subject = [f"S={_base64(facts.subject)}"]
    for lines in (required + extended + subject, required + extended, required):
        text = "\n".join(lines)
        if len(text) <= MAX_DESCRIPTION:
            return text
    return None


def parse(text: str) -> Clid | None:
    """Read SFIDDESC leniently; ``None`` when it is no CLID but a free text (acx.md 2.4)."""
    found = (_LINE.fullmatch(line.strip()) for line in text.split("\n"))
    fields = {line[1].upper(): line[2].strip() for line in found if line}
    issuer, serial = fields.get("I", ""), fields.get("N", "")
    if not issuer or not _HEX.fullmatch(serial):
        return None
    try:
        return Clid(
            issuer=_name(issuer),
            serial=int(serial, 16),
            aki=bytes.fromhex(fields.get("A", "")) or None,
            key_usage=key_usage_bits(bytes.fromhex(fields.get("B", ""))),
            extended=_purposes(fields.get("E", "")),
            subject=_name(fields["S"]) if fields.get("S") else None,
        )
    except ValueError:
        return None


def key_usage_octets(key_usage: frozenset[str] | None) -> bytes:
    """The value octets of the DER BIT STRING: no tag, no length, no count of unused bits."""
    bits = [index for index, bit in enumerate(_BITS) if bit in (key_usage or ())]
    octets = bytearray(max(bits) // 8 + 1 if bits else 0)
    for index in bits:
        octets[index // 8] |= 0x80 >> index % 8
    return bytes(octets)


def key_usage_bits(octets: bytes) -> frozenset[str] | None:
    """The inverse of :func:`key_usage_octets`; no octets mean no extension. Unnamed bits are ignored."""
    if not octets:
        return None
    return frozenset(
        bit for index, bit in enumerate(_BITS) if index // 8 < len(octets) and octets[index // 8] & (0x80 >> index % 8)
    )


def _hex_integer(number: int) -> str:
    """Whole octets without a sign octet; readers compare the number."""
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _base64(name: DistinguishedName) -> str:
    return b64encode(str(name).encode()).decode()


def _name(text: str) -> DistinguishedName:
    """A name in Base64; what is not valid Base64 is taken literally."""
    try:
        return DistinguishedName.parse(b64decode(text, validate=True).decode())
    except ValueError:
        return DistinguishedName.parse(text)


def _purposes(text: str) -> frozenset[str] | None:
    return frozenset(purpose.strip() for purpose in text.split(",") if purpose.strip()) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the identification data, as it was announced and as it arrived."""

    name: str
    announced: str
    """Empty where nothing was announced of it: anything will do then."""
    arrived: str
    equal: bool

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} is {self.arrived or 'none'}, announced is {self.announced}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationMatch:
    """The answer of :meth:`Identification.matches`: one sentence per part that differs."""

    differences: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether every part that was entered is present in the certificate."""
        return not self.differences

    @property
    def text(self) -> str:
        """For people."""
        return "; ".join(self.differences) or "as announced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Identification data as entered: subject, common name or host name, issuer, key usages (acx.md 5.1)."""

    subject: DistinguishedName | None = None
    common_name: str | None = None
    host: str | None = None
    """Equal to a host name among the subject alternative names, or to the common name."""
    issuer: DistinguishedName | None = None
    key_usages: frozenset[str] = frozenset()
    """Names of RFC 5280 such as ``keyEncipherment``; others may be set as well."""

    def __post_init__(self) -> None:
        """Refuse data that name nobody: they would match whatever arrives."""
        named = (self.common_name, self.host, str(self.subject) if self.subject else None)
        if not any((part or "").strip() for part in named):
            raise ValueError("identification data need a subject, a common name or a host name")
        if unknown := self.key_usages - set(_BITS):
            raise ValueError(f"unknown key usage {min(unknown)!r}; known are {', '.join(_BITS)}")

    def matches(self, facts: CertificateFacts) -> IdentificationMatch:
        """Whether the certificate is the one announced, and if not, in what it differs."""
        return IdentificationMatch(differences=tuple(part.text for part in self.compare(facts) if not part.equal))

    def compare(self, facts: CertificateFacts) -> tuple[Part, ...]:
        """Every part side by side, those too of which nothing was announced.

        Every attribute of the subject that is named must be present with an equal value (acx.md 4.3 item 5). The issuer is
        not named in part: it is that of a chosen anchor, and must be equal.
        """
        common = _common(self.common_name) if self.common_name else None
        hosts = tuple(
            dict.fromkeys((*facts.hosts, *([facts.subject.common_name] if facts.subject.common_name else ())))
        )
        # An absent extension leaves every key usage open, but says of none that it exists.
        has = facts.key_usage or frozenset()
        return (
            _part("subject", self.subject, facts.subject, self.subject is None or facts.subject.includes(self.subject)),
            _part(
                "common name",
                self.common_name,
                facts.subject.common_name,
                common is None or facts.subject.includes(common),
            ),
            _part("host name", self.host, ", ".join(hosts), self.host is None or _host(self.host) in map(_host, hosts)),
            _part("issuer", self.issuer, facts.issuer, self.issuer is None or facts.issuer == self.issuer),
            _part("key usage", _listed(self.key_usages), _listed(has), self.key_usages <= has),
        )


def _part(name: str, announced: object, arrived: object, equal: bool) -> Part:  # noqa: FBT001 - the verdict itself
    return Part(name=name, announced=str(announced or ""), arrived=str(arrived or ""), equal=equal)


def _listed(bits: frozenset[str]) -> str:
    return ", ".join(bit for bit in _BITS if bit in bits)


def _host(name: str) -> str:
    """A host name as it is compared: without letter case and the dot of the root."""
    return name.strip().casefold().removesuffix(".")


def _common(name: str) -> DistinguishedName:
    return DistinguishedName(((Attribute(oid=COMMON_NAME, value=name),),))
