"""How much work it is to open a container, seen before it is opened.

Whoever made a container has chosen how often its passphrase is hashed, up to two thousand million times: that is hours of a
thread. In every form (PBES1 and PBKDF2 of RFC 8018, scrypt of RFC 7914, the MAC of RFC 7292) that number is the INTEGER which
stands right behind the OCTET STRING with the salt. So the DER is walked for such pairs, whatever it is all about. What is itself
encrypted cannot be seen: whether that can be opened is tried once in another process, whose time is limited.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from asn1crypto import parser

from oftp2d.errors import OperatorError

MOST_ROUNDS: Final = 4_000_000
"""Of all of a container together: about a second, in which nothing else runs. Usual are 2,048 to 600,000 for each of three."""
MOST_SECONDS: Final = 5
"""Of a processor, to open a container once."""
_PATIENCE_SECONDS: Final = 60
"""However little of the processor there is."""
_MOST_ELEMENTS: Final = 10_000
_DEEPEST: Final = 32
_UNIVERSAL: Final = 0
_INTEGER: Final = 2
_OCTET_STRING: Final = 4


def is_bearable(content: bytes) -> bool:
    """Whether a container in DER or BER can be opened within seconds. Raises ValueError where it is neither."""
    return sum(_Walk().rounds(content)) <= MOST_ROUNDS


_TRY: Final = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_CPU, ({MOST_SECONDS}, {MOST_SECONDS}))
from cryptography.hazmat.primitives.serialization import pkcs12
line, _, content = sys.stdin.buffer.read().partition(b"\\n")
try:
    pkcs12.load_key_and_certificates(content, bytes.fromhex(line.decode()) or None)
except Exception:
    pass
"""


def ends_in_time(content: bytes, passphrase: bytes | None) -> bool:
    """Whether opening this PKCS#12 comes to an end, good or bad, within ``MOST_SECONDS``. Raises OperatorError."""
    try:
        done = subprocess.run(  # noqa: S603 - our own text, by our own interpreter
            # What is secret goes neither over a command line nor by the environment, and our environment not to it.
            [sys.executable, "-I", "-c", _TRY],
            input=(passphrase or b"").hex().encode() + b"\n" + content,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    except OSError as error:
        what = f"no process can be made to open the container in ({error.strerror})"
        raise OperatorError(what, "see what else the machine does") from None
    return done.returncode >= 0


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
