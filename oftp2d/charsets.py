"""Character sets of partners: text as its octets, and back, without loss or not at all.

UTF-8, ASCII, and any of Python's character sets of one octet a character, the EBCDIC code pages among them; three pages of
the EBCDIC family that Python lacks are here as what tells them from a page it has.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

UTF_8: Final = "utf-8"

_UNDEFINED: Final = "\ufffe"
"""What Python's tables of characters say for an octet that stands for none."""

_SINGLE: Final = re.compile(r"ascii|iso8859-\d+|cp\d+|koi8-[rtu]|kz1048|hp-roman8|tis-620")
_DERIVED: Final = {
    # The page of open systems on mainframes: brackets and the circumflex where programs in C expect them.
    "cp1047": ("cp037", {0x5F: "^", 0xAD: "[", 0xB0: "\xac", 0xBA: "\xdd", 0xBB: "\xa8", 0xBD: "]"}),
    # Germany and international, with the euro in the place of the currency sign.
    "cp1141": ("cp273", {0x9F: "\u20ac"}),
    "cp1148": ("cp500", {0x9F: "\u20ac"}),
}
_PREFIXED: Final = re.compile(r"(?:ibm|cp|ebcdic-?cp-?)-?0*(\d+)")


class UnknownCharsetError(Exception):
    """There is no such character set here."""


class Decoder(Protocol):
    """Makes text of octets that come piece by piece."""

    def decode(self, octets: bytes, final: bool = False, /) -> str:  # noqa: FBT001, FBT002 - as Python's own decoders
        """The text of what came so far. Raises UnicodeDecodeError."""


@dataclass(frozen=True, slots=True)
class Charset:
    """A character set; ``table`` has the character of each of the 256 octets, None for UTF-8."""

    name: str
    table: str | None

    def encode(self, text: str) -> bytes:
        """The octets. Raises UnicodeEncodeError for a character that is not in the set."""
        if self.table is None:
            return text.encode(UTF_8)
        return codecs.charmap_encode(text, "strict", _map(self.table))[0]

    def decoder(self) -> Decoder:
        """What decodes one text from its beginning to its end."""
        return codecs.getincrementaldecoder(UTF_8)() if self.table is None else _TableDecoder(self.table)


class _TableDecoder:
    def __init__(self, table: str) -> None:
        self._table = table

    def decode(self, octets: bytes, final: bool = False, /) -> str:  # noqa: ARG002, FBT001, FBT002 - a Decoder
        return codecs.charmap_decode(octets, "strict", self._table)[0]


def named(name: str) -> Charset:
    """The character set that goes by this name, in any of its usual spellings. Raises UnknownCharsetError."""
    wanted = name.strip().lower().replace("_", "-")
    page = _PREFIXED.fullmatch(wanted)
    if page is not None:
        wanted = f"cp{page[1]:0>3}"
    if wanted in _DERIVED:
        base, changes = _DERIVED[wanted]
        characters = [changes.get(octet, character) for octet, character in enumerate(_table(base))]
        return Charset(wanted, "".join(characters))
    try:
        known = codecs.lookup(wanted).name
    except (LookupError, ValueError):
        raise UnknownCharsetError(name) from None
    if known == UTF_8:
        return Charset(UTF_8, None)
    if not _SINGLE.fullmatch(known) or len(_table(known)) != 256:
        raise UnknownCharsetError(name)
    return Charset(known, _table(known))


def _table(name: str) -> str:
    """The characters of all octets. Where octets go together to make one it has another length than 256."""
    return bytes(range(256)).decode(name, "replace").replace("\ufffd", _UNDEFINED)


@lru_cache(maxsize=64)
def _map(table: str) -> Any:
    return codecs.charmap_build(table)
