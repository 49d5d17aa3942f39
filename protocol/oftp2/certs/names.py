"""Distinguished names as they are compared between systems that spell them differently (acx.md 2.4).

A name is read into attributes of (object identifier, value). Attribute types are known by their many
spellings, RFC 4514 escapes and multi-valued RDNs are honoured, and so are the quoted values of older tools.
Two names are equal when they hold the same attributes, ignoring their order, letter case and runs of white
space.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from asn1crypto import core
from cryptography import x509

COMMON_NAME = "2.5.4.3"
SERIAL_NUMBER = "2.5.4.5"

# The first spelling of each type is the one we write. Types of RFC 4514 section 3 have their short names;
# the others have those that most products print. SN is the surname: reading it as a serial number would
# make two parties equal.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    COMMON_NAME: ("CN", "commonName"),
    "2.5.4.10": ("O", "organizationName"),
    "2.5.4.11": ("OU", "organizationalUnitName"),
    "2.5.4.6": ("C", "countryName"),
    "2.5.4.7": ("L", "localityName"),
    "2.5.4.8": ("ST", "S", "stateOrProvinceName"),
    "2.5.4.9": ("STREET", "streetAddress"),
    SERIAL_NUMBER: ("serialNumber", "SERIAL"),
    "2.5.4.4": ("SN", "surname"),
    "2.5.4.42": ("givenName", "G", "GN"),
    "2.5.4.12": ("title", "T"),
    "2.5.4.17": ("postalCode",),
    "2.5.4.97": ("organizationIdentifier",),
    "1.2.840.113549.1.9.1": ("E", "EMAIL", "emailAddress"),
    "0.9.2342.19200300.100.1.25": ("DC", "domainComponent"),
    "0.9.2342.19200300.100.1.1": ("UID", "userId"),
}
_OIDS = {spelling.lower(): oid for oid, spellings in _SPELLINGS.items() for spelling in spellings}
_DOTTED = re.compile(r"(?:oid\.)?([0-2](?:\.(?:0|[1-9][0-9]*))+)", re.IGNORECASE)
_HEX_OCTET = re.compile(r"[0-9a-fA-F]{2}")
# What asn1crypto raises for octets from anyone; AttributeError for types it has no value for, such as REAL.
_UNDECODABLE = (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, RecursionError)
_ESCAPED = frozenset('"+,;<>\\')


class DistinguishedNameError(ValueError):
    """The text is not a distinguished name; the message says at which attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of a name: the dotted object identifier of its type and its value as text."""

    oid: str
    value: str

    @property
    def normal(self) -> tuple[str, str]:
        """What is compared: the type, and the value without letter case and superfluous white space."""
        return self.oid, " ".join(unicodedata.normalize("NFKC", self.value).casefold().split())

    def __str__(self) -> str:
        spelling = _SPELLINGS.get(self.oid, (self.oid,))[0]
        return f"{spelling}={_escape(self.value)}"


@dataclass(frozen=True, slots=True, eq=False)
class DistinguishedName:
    """A distinguished name, most specific RDN first; each RDN is a tuple of one or more attributes."""

    rdns: tuple[tuple[Attribute, ...], ...]

    @classmethod
    def parse(cls, text: str) -> DistinguishedName:
        """Read the RFC 4514 form or one of its dialects; raises :class:`DistinguishedNameError`."""
        if not text.strip():
            return cls(())
        return cls(tuple(tuple(_attribute(part) for part in _split(rdn, "+")) for rdn in _split(text, ",;")))

    @classmethod
    def of(cls, name: x509.Name) -> DistinguishedName:
        """The name as it stands in a certificate."""
        return cls(
            tuple(
                tuple(Attribute(oid=item.oid.dotted_string, value=_text(item.value)) for item in rdn)
                for rdn in reversed(name.rdns)
            )
        )

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """All attributes, flat."""
        return tuple(attribute for rdn in self.rdns for attribute in rdn)

    @property
    def common_name(self) -> str | None:
        """The first common name, if there is one."""
        return next((item.value for item in self.attributes if item.oid == COMMON_NAME), None)

    @property
    def serial_number(self) -> str | None:
        """The first serialNumber, where the Odette policy puts the station's code."""
        return next((item.value for item in self.attributes if item.oid == SERIAL_NUMBER), None)

    def includes(self, partial: DistinguishedName) -> bool:
        """Whether every attribute that ``partial`` names is here with an equal value (acx.md 4.3 item 5)."""
        return not partial._counted() - self._counted()

    def _counted(self) -> Counter[tuple[str, str]]:
        return Counter(attribute.normal for attribute in self.attributes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DistinguishedName):
            return NotImplemented
        return self._counted() == other._counted()

    def __hash__(self) -> int:
        return hash(frozenset(self._counted().items()))

    def __str__(self) -> str:
        return ",".join("+".join(str(attribute) for attribute in rdn) for rdn in self.rdns)


def _split(text: str, separators: str) -> Iterator[str]:
    """Cut at separators that are neither escaped nor inside quotation marks."""
    start, quoted, position = 0, False, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character in separators and not quoted:
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]


def _attribute(part: str) -> Attribute:
    kind, equals, value = part.partition("=")
    if not equals:
        raise DistinguishedNameError(f"{part.strip()!r} has no '='")
    kind = kind.strip()
    dotted = _DOTTED.fullmatch(kind)
    oid = dotted.group(1) if dotted else _OIDS.get(kind.lower())
    if oid is None:
        raise DistinguishedNameError(f"attribute type {kind!r} is unknown")
    return Attribute(oid=oid, value=_value(value))


def _value(text: str) -> str:
    stripped = text.strip(" ")
    if stripped.startswith("#"):
        return _encoded_value(stripped[1:])
    if len(stripped) > 1 and stripped.startswith('"') and stripped.endswith('"'):
        return _unescape(stripped[1:-1])
    # A blank at the end that is escaped belongs to the value.
    if stripped.endswith("\\") and text.lstrip(" ").startswith(stripped + " "):
        stripped += " "
    return _unescape(stripped)


def _encoded_value(digits: str) -> str:
    """The ``#`` form of RFC 4514 section 2.4: the BER encoding of the value in hexadecimal."""
    try:
        value = core.Asn1Value.load(bytes.fromhex(digits)).native
    except _UNDECODABLE as error:
        raise DistinguishedNameError(f"value '#{digits}' is not encoded as RFC 4514 asks") from error
    return _text(value)


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _unescape(text: str) -> str:
    octets = bytearray()
    position = 0
    while position < len(text):
        if text[position] != "\\":
            octets += text[position].encode()
            position += 1
        elif _HEX_OCTET.match(text, position + 1):
            octets.append(int(text[position + 1 : position + 3], 16))
            position += 3
        else:
            octets += text[position + 1 : position + 2].encode()
            position += 2
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise DistinguishedNameError(f"value {text!r} is not UTF-8") from error


def _escape(value: str) -> str:
    """RFC 4514 section 2.4; control characters go as hexadecimal pairs so that a name stays one line."""
    last = len(value) - 1
    return "".join(
        f"\\{character}"
        if character in _ESCAPED or (character == " " and position in (0, last)) or (character == "#" and position == 0)
        else (f"\\{ord(character):02x}" if character < " " else character)
        for position, character in enumerate(value)
    )
