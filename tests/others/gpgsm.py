"""GnuPG as a partner: the gpgsm command over libksba and libgcrypt, with a home of its own.

Private keys are put where its agent looks for them, without passphrases, so that nobody is ever asked for one. The agent
is started before it is needed, and told to end when it is not needed any more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Final, Self

import pytest
from cryptography.hazmat.primitives import hashes

from oftp2.cms.suites import CipherSuite, ContentCipher
from tests.pki import Issued

_QUIET: Final = ("--batch", "--no-tty", "--no-autostart", "--disable-dirmngr", "--disable-crl-checks")
_CIPHERS: Final = {ContentCipher.TRIPLE_DES: "3DES", ContentCipher.AES_256: "AES256"}
_ENDING: Final = 20
"""Seconds until the agent has to be gone."""


class RefusedError(Exception):
    """What gpgsm could not do, in its own words."""


class Gpgsm:
    """A home in ``folder``, whose path has to be short. It trusts the roots of those whom it knows; close it at the end."""

    def __init__(self, folder: Path, *, known: Iterable[Issued], owned: Iterable[Issued]) -> None:
        for program in ("gpgsm", "gpg-agent", "gpgconf"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed (Debian: apt-get install gpgsm)")
        self._folder = folder
        (folder / "private-keys-v1.d").mkdir(mode=0o700)
        for issued in owned:
            name, key = _private_key(issued)
            (folder / "private-keys-v1.d" / f"{name}.key").write_bytes(key)
        everybody = list(known)
        roots = {each.chain[-1].certificate.fingerprint(hashes.SHA1()).hex() for each in everybody}  # noqa: S303
        (folder / "trustlist.txt").write_text("".join(f"{each} S relax\n" for each in sorted(roots)))
        agent = ["gpg-agent", "--homedir", str(folder), "--daemon", "--pinentry-program", "/bin/false"]
        subprocess.run(agent, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._run("--import", octets=b"".join(each.pem for one in everybody for each in (one, *one.chain)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["gpgconf", "--homedir", self._folder, "--kill", "gpg-agent"], check=True)
        deadline = time.monotonic() + _ENDING
        while (self._folder / "S.gpg-agent").exists():
            assert time.monotonic() < deadline, "the agent does not end"
            time.sleep(0.01)

    def sign(
        self, content: bytes, signer: Issued, suite: CipherSuite, *, attached: bool = True, chain: int = 0
    ) -> bytes:
        """The signed content; ``chain`` is how many certificates go along, from that of the signer upwards."""
        how = () if attached else ("--detach-sign",)
        options = ("--digest-algo", suite.digest.name, "--include-certs", str(chain))
        return self._run(*options, "--local-user", _name(signer), "--sign", *how, octets=content)

    def verify(self, octets: bytes, *, content: bytes | None = None) -> tuple[bytes, set[str]]:
        """What is signed, and the fingerprints (SHA-1) of those whose valid signatures stand there."""
        (self._folder / "signature").write_bytes(octets)
        (self._folder / "content").write_bytes(content or b"")
        output = self._folder / "output"
        files = ["signature"] if content is None else ["signature", "content"]
        options = () if content is not None else ("--output", str(output))
        told = self._run("--status-fd", "1", *options, "--verify", *(str(self._folder / name) for name in files))
        lines = [line.split() for line in told.decode().splitlines()]
        valid = {words[2].lower() for words in lines if words[:2] == ["[GNUPG:]", "VALIDSIG"]}
        return output.read_bytes() if content is None else content, valid

    def encrypt(self, content: bytes, recipients: Sequence[Issued], suite: CipherSuite) -> bytes:
        """The content, encrypted for these; RSA is padded as PKCS#1 v1.5 says."""
        for_whom = [option for each in recipients for option in ("--recipient", _name(each))]
        return self._run("--cipher-algo", _CIPHERS[suite.cipher], *for_whom, "--encrypt", octets=content)

    def decrypt(self, octets: bytes) -> bytes:
        """The content, by whichever key it has. Other recipients that it meets before are errors to its exit code."""
        done = self._done("--status-fd", "2", "--decrypt", octets=octets)
        if b"[GNUPG:] DECRYPTION_OKAY" not in done.stderr:
            raise RefusedError(done.stderr.decode(errors="replace"))
        return done.stdout

    def _run(self, *arguments: str, octets: bytes = b"") -> bytes:
        done = self._done(*arguments, octets=octets)
        if done.returncode:
            raise RefusedError(done.stderr.decode(errors="replace"))
        return done.stdout

    def _done(self, *arguments: str, octets: bytes) -> subprocess.CompletedProcess[bytes]:
        command = ["gpgsm", "--homedir", str(self._folder), *_QUIET, "--yes", *arguments]
        spoken = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(command, input=octets, capture_output=True, check=False, timeout=60, env=spoken)


def fingerprint(issued: Issued) -> str:
    """By which gpgsm names a certificate."""
    return issued.certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303


def _name(issued: Issued) -> str:
    return f"0x{fingerprint(issued)}"


def _private_key(issued: Issued) -> tuple[str, bytes]:
    """The name of a key, which is a hash of its modulus, and its file: an S-expression without protection."""
    numbers = issued.key.private_numbers()
    p, q = sorted((numbers.p, numbers.q))
    public = numbers.public_numbers
    values = {"n": public.n, "e": public.e, "d": numbers.d, "p": p, "q": q, "u": pow(p, -1, q)}
    inside = b"".join(b"(1:%s%d:%s)" % (name.encode(), len(octets), octets) for name, octets in _octets(values))
    return sha1(_integer(public.n)).hexdigest().upper(), b"(11:private-key(3:rsa%s))" % inside  # noqa: S324


def _octets(values: dict[str, int]) -> Iterable[tuple[str, bytes]]:
    return ((name, _integer(value)) for name, value in values.items())


def _integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
