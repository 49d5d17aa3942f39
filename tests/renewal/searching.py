"""Looking for secrets in whatever the station writes: each in every way in which it may be written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PIECE = 48
"""Octets of a long secret that are looked for; nothing else has as many of them in common with it."""


class Secrets:
    """Secrets with what they are called, and the search for them."""

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}

    def text(self, name: str, value: str) -> None:
        """A password, passphrase or TAN."""
        octets = value.encode()
        forms = {
            "": octets,
            " in XML": escape(value).encode(),
            " in an attribute": quoteattr(value)[1:-1].encode(),
            " in JSON": json.dumps(value)[1:-1].encode(),
            " in Python": repr(value)[1:-1].encode(),
            " in a URL": quote(value).encode(),
            " in hexadecimal": octets.hex().encode(),
            " in base64": base64.b64encode(octets)[: len(octets)],
            " in UTF-16": value.encode("utf-16-be"),
        }
        self._needles.update({octets: f"{name}{form}" for form, octets in forms.items()})

    def octets(self, name: str, value: bytes) -> None:
        """A container or a key: pieces of it, as octets, in base64 at each alignment, and in hexadecimal."""
        middle = len(value) // 2
        piece = value[middle : middle + PIECE]
        self._needles[piece] = name
        self._needles[piece.hex().encode()] = f"{name} in hexadecimal"
        for shift in range(3):
            # Of what stands before and behind it a piece in base64 has two letters at each end.
            aligned = base64.b64encode(value[middle + shift : middle + shift + PIECE])
            self._needles[aligned[2:-4]] = f"{name} in base64"

    def key(self, name: str, key: RSAPrivateKey) -> None:
        """A private key: in its encodings, and by its numbers."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.octets(name, key.private_bytes(Encoding.DER, form, NoEncryption()))
            pem = key.private_bytes(Encoding.PEM, form, NoEncryption()).splitlines()
            self._needles.update(dict.fromkeys(pem[8:12], f"{name} in PEM"))
        numbers = key.private_numbers()
        for number in (numbers.p, numbers.q, numbers.d):
            self._needles[str(number).encode()] = f"{name} in digits"
            self._needles[f"{number:x}".encode()] = f"{name} in hexadecimal"
            self._needles[number.to_bytes((number.bit_length() + 7) // 8)] = f"{name} as a number"

    def found(self, where: str, haystack: str | bytes) -> Iterator[str]:
        """What of it is there, each with where."""
        octets = haystack.encode("utf-8", "surrogateescape") if isinstance(haystack, str) else haystack
        return (f"{name} is in {where}" for needle, name in self._needles.items() if needle in octets)

    def in_files(self, folder: Path, *, but: tuple[str, ...]) -> Iterator[str]:
        """What of it is in the files below a folder, but for those below some of it."""
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and relative.parts[0] not in but:
                yield from self.found(str(relative), path.read_bytes())

    @property
    def needles(self) -> dict[bytes, str]:
        """All that is looked for."""
        return dict(self._needles)
