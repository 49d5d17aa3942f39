"""Two stations for trying things out: tools/demo and tools/bench stand on these.

Each has its own home folder and its own daemon process, and is asked with the command line that people use. A certification
authority that both trust issues their certificates.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

OFTP2D = [sys.executable, "-m", "oftp2d"]
PATIENCE = 300
"""Seconds after which a step that waits has failed."""
SECURED = (
    *("--sign-files", "--compress-files", "--encrypt-files"),
    *("--cipher-suite", "6", "--signed-receipts"),
    *("--incoming-signed", "required", "--incoming-encrypted", "required"),
)
"""All that two stations can agree of file security, the same on both sides."""


class FailedError(Exception):
    """A step did not do what it should."""


@dataclass
class Station:
    """One station of the demonstration: its home, its daemon, and how to ask it things.

    ``program`` is what runs as its daemon, with ``surroundings`` beside the environment of this process.
    """

    home: Path
    code: str
    host: str
    program: Sequence[str] = (*OFTP2D, "run")
    surroundings: Mapping[str, str] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_hex(4).upper(), repr=False)
    daemon: subprocess.Popen[bytes] | None = None

    def attempt(self, *arguments: str, said: str = "", **more_environment: str) -> subprocess.CompletedProcess[str]:
        """Carry out a command, whatever comes of it; ``said`` is its standard input."""
        environment = {**os.environ, "OFTP2D_HOME": str(self.home), **more_environment}
        return subprocess.run(
            [*OFTP2D, *arguments],
            env=environment,
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def run(self, *arguments: str, said: str = "", **more_environment: str) -> str:
        done = self.attempt(*arguments, said=said, **more_environment)
        if done.returncode:
            told = (done.stderr.strip() or done.stdout.strip()).replace("\n", " ")
            raise FailedError(f"oftp2d {' '.join(arguments[:2])} ended with {done.returncode}: {told}")
        return done.stdout

    def ask(self, *arguments: str, **more_environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", **more_environment))

    def start(self) -> None:
        log = (self.home / "daemon.log").open("ab")
        environment = {**os.environ, "OFTP2D_HOME": str(self.home), **self.surroundings}
        self.daemon = subprocess.Popen(self.program, env=environment, stdout=log, stderr=log)
        log.close()
        wait_for("the daemon to answer", self.daemon_answers)

    def daemon_answers(self) -> bool:
        if self.daemon is not None and self.daemon.poll() is not None:
            raise FailedError(f"the daemon of {self.code} ended: {(self.home / 'daemon.log').read_text()[-600:]}")
        try:
            return bool(self.ask("status")["listeners"])
        except FailedError:
            return False

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def stop(self) -> None:
        if self.daemon is None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            code = self.daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise FailedError(f"the daemon of {self.code} did not stop") from None
        self.daemon = None
        if code:
            raise FailedError(f"the daemon of {self.code} ended with {code}")

    @property
    def port(self) -> int:
        return int(self.ask("status")["listeners"][0]["port"])


def wait_for(what: str, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > end:
            raise FailedError(f"waited {PATIENCE} seconds for {what}")
        time.sleep(0.1)


class Authority:
    """A certification authority that both stations trust, since an hour before ``now`` and for so many ``days``."""

    def __init__(self, now: datetime | None = None, days: int = 30) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        self._days = days
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Demonstration CA")])
        now = now or datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_certificate_signing(), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def key_pem(self) -> bytes:
        """Its private key, for a station that signs by itself."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(self, request: bytes, now: datetime | None = None) -> bytes:
        asked = x509.load_pem_x509_csr(request)
        now = now or datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer_name=self.certificate.subject, subject_name=asked.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=self._days - 10))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in asked.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _certificate_signing() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **unused)


def prepare(folder: Path) -> tuple[Station, Station, Authority]:
    ours = Station(folder / "alpha", "O0013000001ALPHA", "alpha.example")
    theirs = Station(folder / "beta", "O0013000002BETA", "beta.example")
    for station in (ours, theirs):
        station.run(
            *("init", "--code", station.code, "--name", station.host, "--host", station.host),
            *("--listen", "127.0.0.1", "--tls-port", "0"),
        )
    return ours, theirs, Authority()


def certify(station: Station, authority: Authority) -> None:
    trust(station, authority)
    renew(station, authority, "trusted")


def trust(station: Station, authority: Authority) -> None:
    anchor = station.home / "anchor.pem"
    anchor.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    station.run("cert", "import", str(anchor), "--anchor", "--alias", "demonstration-ca")


def renew(station: Station, authority: Authority, alias: str, now: datetime | None = None) -> str:
    """Have the authority certify a new key of the station, and import its answer; the fingerprint."""
    request, issued = station.home / f"{alias}.csr", station.home / f"{alias}.pem"
    station.run(
        *("cert", "generate", "--alias", alias, "--cn", station.host, "--host", station.host),
        *("--csr", "-o", str(request)),
    )
    issued.write_bytes(authority.issue(request.read_bytes(), now))
    return str(station.ask("cert", "import", str(issued), "--own")["fingerprint"])


def introduce(station: Station, other: Station, port: int) -> None:
    """Tell ``station`` all it is to know of ``other``: no certificate among it."""
    station.run(
        *("partner", "add", other.code, "--name", other.host, "--host", "127.0.0.1", "--port", str(port)),
        *("--acx", "announced", "--authentication", "prepared", "--client-certificate"),
        OFTP2D_PASSWORD_OURS=station.password,
        OFTP2D_PASSWORD_THEIRS=other.password,
    )
    station.run("cert", "announce", other.code, "--cn", other.host, "--issuer", "demonstration-ca")


def acquainted(station: Station, other: Station) -> bool:
    """Whether the other's certificate is here and the latch has closed."""
    known = station.ask("cert", "list", "--partner", other.code)["certificates"]
    return bool(known) and station.ask("partner", "show", other.code)["authentication"] == "on"
