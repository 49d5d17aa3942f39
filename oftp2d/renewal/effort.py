"""How much work it is to open a container, seen before it is opened.

Whoever made a container has chosen how often its passphrase is hashed, up to two thousand million times: that is hours of a
thread. In every form (PBES1 and PBKDF2 of RFC 8018, scrypt of RFC 7914, the MAC of RFC 7292) that number is the INTEGER which
stands right behind the OCTET STRING with the salt. So the DER is walked for such pairs, whatever it is all about; what is itself
encrypted cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from asn1crypto import parser

MOST_ROUNDS: Final = 10_000_000
"""Of all of a container together: some seconds. Usual are 2,048 to 600,000."""
_MOST_ELEMENTS: Final = 10_000
_DEEPEST: Final = 32
_UNIVERSAL: Final = 0
_INTEGER: Final = 2
_OCTET_STRING: Final = 4


def is_bearable(content: bytes) -> bool:
    """Whether a container in DER or BER can be opened within seconds. Raises ValueError where it is neither."""
    return sum(_Walk().rounds(content)) <= MOST_ROUNDS


class _Walk:
    """One walk over all elements, which are counted."""

    def __init__(self) -> None:
        self._left = _MOST_ELEMENTS

    def rounds(self, content: bytes, depth: int = 0) -> Iterator[int]:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
        before = None
        for tag, constructed, inner in self._elements(content):
            if tag == _INTEGER and before == _OCTET_STRING:
                yield max(int.from_bytes(inner, signed=True), 0)
            if tag == _OCTET_STRING:
                # In BER it may come in pieces, each an octet string.
                whole = b"".join(piece for _, _, piece in self._elements(inner)) if constructed else inner
                yield from self._within(whole, depth)
            elif constructed:
                yield from self.rounds(inner, depth + 1)
            before = tag

    def _elements(self, content: bytes) -> Iterator[tuple[int | None, bool, bytes]]:
        """The elements one behind the other: their tag (None of one that is not universal), form and content."""
        while content:
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many elements")
            kind, constructed, tag, header, inner, trailer = parser.parse(content)
            yield tag if kind == _UNIVERSAL else None, bool(constructed), inner
            content = content[len(header) + len(inner) + len(trailer) :]

    def _within(self, content: bytes, depth: int) -> list[int]:
        """Of an octet string, which may hold further elements or anything else."""
        found: list[int] = []
        with suppress(ValueError):
            found.extend(self.rounds(content, depth + 1))
        return found
