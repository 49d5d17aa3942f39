"""NSS as a partner: its cmsutil command, with a database of its own.

It is the library of Mozilla and Red Hat. It has only ever been made for mail: it takes only certificates for that, signs with
PKCS#1 v1.5 alone, and encrypts as weakly as it may, with AES-128 or 3DES.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from oftp2.cms.suites import CipherSuite
from tests.pki import Issued

_PASSPHRASE: Final = "of the files in which keys are handed over"


class RefusedError(Exception):
    """What cmsutil could not do, in its own words."""


class Nss:
    """A database in ``folder`` with certificates, whose authorities it trusts, and the keys of some."""

    def __init__(self, folder: Path, *, known: Sequence[Issued], owned: Sequence[Issued]) -> None:
        for program in ("certutil", "cmsutil", "pk12util"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed (Debian: apt-get install libnss3-tools)")
        self._folder = folder
        self._run("certutil", "-N", "--empty-password")
        for issued in owned:
            (folder / "key.p12").write_bytes(_handed_over(issued))
            self._run("pk12util", "-i", "key.p12", "-W", _PASSPHRASE, "-K", "")
        for issued in known:
            self._add(issued, ",,")
        for authority in {above.fingerprint: above for issued in known for above in issued.chain}.values():
            self._add(authority, ",CT,")

    def sign(self, content: bytes, signer: Issued, suite: CipherSuite, *, attached: bool = True) -> bytes:
        """The signed content, with the certificates of the signer and those above."""
        how = () if attached else ("-T",)
        digest = str(suite.digest).replace("-", "")
        return self._cms("-S", "-G", "-N", _name(signer), "-H", digest, *how, octets=content)

    def verify(self, octets: bytes, *, content: bytes | None = None) -> bytes:
        """What is signed, if all signatures are valid."""
        if content is None:
            return self._cms("-D", octets=octets)
        (self._folder / "content").write_bytes(content)
        return self._cms("-D", "-c", "content", octets=octets)

    def encrypt(self, content: bytes, recipients: Iterable[Issued]) -> bytes:
        """The content, encrypted for these with a cipher of its choice."""
        return self._cms("-E", "-r", ",".join(map(_name, recipients)), octets=content)

    def decrypt(self, octets: bytes) -> bytes:
        """The content, by whichever key it has."""
        return self._cms("-D", octets=octets)

    def _add(self, issued: Issued, trust: str) -> None:
        (self._folder / "certificate.der").write_bytes(issued.der)
        self._run("certutil", "-A", "-n", _name(issued), "-t", trust, "-i", "certificate.der")

    def _cms(self, *arguments: str, octets: bytes) -> bytes:
        (self._folder / "input").write_bytes(octets)
        self._run("cmsutil", *arguments, "-p", "", "-i", "input", "-o", "output")
        return (self._folder / "output").read_bytes()

    def _run(self, program: str, *arguments: str) -> None:
        command = [program, *arguments, "-d", f"sql:{self._folder}"]
        done = subprocess.run(command, capture_output=True, cwd=self._folder, check=False, timeout=60)
        if done.returncode:
            raise RefusedError((done.stderr + done.stdout).decode(errors="replace"))


def _name(issued: Issued) -> str:
    """The name under which a certificate is in the database."""
    return issued.fingerprint


def _handed_over(issued: Issued) -> bytes:
    protection = BestAvailableEncryption(_PASSPHRASE.encode())
    return pkcs12.serialize_key_and_certificates(
        _name(issued).encode(), issued.key, issued.certificate, None, protection
    )
