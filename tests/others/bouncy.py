"""BouncyCastle as a partner: ``Bouncy.java`` in one Java machine, asked over its standard input and output.

It is what most OFTP2 products do their cryptography with, and shares no code with OpenSSL.
"""

from __future__ import annotations

import select
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from oftp2.cms.package import Services
from oftp2.cms.suites import CipherSuite, Digest
from tests.pki import Issued

_SOURCE: Final = Path(__file__).with_name("Bouncy.java")
_JARS: Final = [Path("/usr/share/java") / f"{name}.jar" for name in ("bcprov", "bcpkix", "bcutil")]

_PATIENCE: Final = 60
"""Seconds that an answer may take."""

Fields = Mapping[str, Sequence[bytes]]


class RefusedError(Exception):
    """What BouncyCastle could not do, in its own words."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that BouncyCastle opened: each signature was valid."""

    content: bytes
    signers: tuple[bytes, ...] = ()
    """The certificates of those who signed, in DER."""
    digests: tuple[str, ...] = ()
    """The dotted identifiers of their digests."""


class Bouncy:
    """The running machine. Compile it into ``folder``; close it at the end."""

    def __init__(self, folder: Path) -> None:
        java, javac = shutil.which("java"), shutil.which("javac")
        if java is None or javac is None or not all(jar.exists() for jar in _JARS):
            pytest.skip("BouncyCastle is not installed (Debian: apt-get install default-jdk-headless libbcpkix-java)")
        path = ":".join(map(str, _JARS))
        subprocess.run([javac, "-encoding", "UTF-8", "-nowarn", "-d", folder, "-cp", path, _SOURCE], check=True)
        options = ["-XX:+UseSerialGC", "-Xmx256m"]
        self._machine = subprocess.Popen(
            [java, *options, "-cp", f"{folder}:{path}", "Bouncy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.communicate(timeout=20)

    def secure(
        self,
        content: bytes,
        services: Services,
        suite: CipherSuite,
        *,
        signers: Sequence[Issued] = (),
        recipients: Sequence[Issued] = (),
        form: str = "DER",
        named: str = "by issuer",
        segment: int = 1000,
        attached: bool = True,
        attributes: bool = True,
        certificates: bool = False,
        typed: bool = False,
        extras: bool = False,
        lists: Sequence[bytes] = (),
        mask: Digest | None = None,
    ) -> bytes:
        """A file with these services. Forms are "DER", "BER" and "stream", which has segments of so many octets.

        ``typed``: a layer says of what kind the one inside is; ``extras``: attributes, and recipients with keys of other
        kinds, that nobody asked for; ``lists``: revocation lists beside the signatures; ``mask``: MGF1 in OAEP has another
        digest than the suite.
        """
        flags = {
            "attached": attached,
            "attributes": attributes,
            "certificates": certificates,
            "typed": typed,
            "extras": extras,
        }
        said = {
            "do": "secure",
            "services": _names(services),
            "form": form,
            "named": named,
            "segment": str(segment),
            "signature": _signature(suite),
            "cipher": str(suite.cipher),
            **({"OAEP": str(suite.digest), "MGF1": str(mask or suite.digest)} if suite.probabilistic else {}),
            **{name: "yes" if flag else "no" for name, flag in flags.items()},
        }
        fields = {
            "octets": [content],
            "signer": [each.der for each in signers],
            "signer key": [_pkcs8(each) for each in signers],
            "recipient": [each.der for each in recipients],
            "list": lists,
        }
        return self._ask({**{name: [text.encode()] for name, text in said.items()}, **fields})["octets"][0]

    def open(
        self,
        octets: bytes,
        services: Services,
        *,
        signers: Sequence[Issued] = (),
        owner: Issued | None = None,
        form: str = "whole",
        content: bytes | None = None,
    ) -> Opened:
        """A file with these services, "whole" or as a "stream"; ``content`` is what a detached signature is over."""
        fields = {
            "do": [b"open"],
            "services": [_names(services).encode()],
            "form": [form.encode()],
            "octets": [octets],
            "signer": [each.der for each in signers],
            "recipient": [owner.der] if owner else [],
            "recipient key": [_pkcs8(owner)] if owner else [],
            "content": [] if content is None else [content],
        }
        answer = self._ask(fields)
        return Opened(
            content=answer["octets"][0],
            signers=tuple(answer.get("signer", ())),
            digests=tuple(each.decode() for each in answer.get("digest", ())),
        )

    def _ask(self, fields: Fields) -> Fields:
        assert self._machine.stdin is not None
        assert self._machine.stdout is not None
        self._machine.stdin.write(_written(fields))
        self._machine.stdin.flush()
        ready, _, _ = select.select([self._machine.stdout], [], [], _PATIENCE)
        assert ready, "the Java machine does not answer"
        answer: dict[str, list[bytes]] = {}
        for name, octets in _read(self._machine.stdout):
            answer.setdefault(name, []).append(octets)
        if "refused" in answer:
            raise RefusedError(answer["refused"][0].decode())
        return answer


def _names(services: Services) -> str:
    return " ".join(name for name in ("sign", "compress", "encrypt") if getattr(services, name))


def _signature(suite: CipherSuite) -> str:
    """As Java names it, such as SHA256withRSA, SHA3-512withRSAandMGF1."""
    digest = str(suite.digest)
    name = digest if digest.startswith("SHA3") else digest.replace("-", "")
    return f"{name}withRSA{'andMGF1' if suite.probabilistic else ''}"


def _pkcs8(issued: Issued) -> bytes:
    return issued.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _written(fields: Fields) -> bytes:
    pairs = [(name.encode(), octets) for name, values in fields.items() for octets in values]
    parts = [struct.pack(">I", len(pairs))]
    for name, octets in pairs:
        parts += [struct.pack(">H", len(name)), name, struct.pack(">I", len(octets)), octets]
    return b"".join(parts)


def _read(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    def take(form: str) -> int:
        octets = stream.read(struct.calcsize(form))
        assert octets, "the Java machine has ended"
        number: int
        (number,) = struct.unpack(form, octets)
        return number

    for _ in range(take(">I")):
        name = stream.read(take(">H")).decode()
        yield name, stream.read(take(">I"))
