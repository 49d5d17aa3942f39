"""What tools/demo does: two stations, two daemon processes, one certification authority, and files both ways.

Each station knows of the other its address, code, passwords and the identification data of its certificate: the common name and
who issued it. One requests certificates; both end up with both, and session authentication switches itself on. Then the files go
both ways at once and are compared. Everything is done with the command line that people use.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

OFTP2D = [sys.executable, "-m", "oftp2d"]
PATIENCE = 300
"""Seconds after which a step that waits has failed."""

MEBIBYTE = 1024 * 1024


class FailedError(Exception):
    """A step did not do what it should."""


@dataclass
class Report:
    """What happened, for people line by line and for machines as one object."""

    quiet: bool
    steps: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr if self.quiet else sys.stdout, flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            seconds = round(time.monotonic() - begun, 3)
            self.steps.append({"name": name, "ok": ok, "seconds": seconds})
            self.say(f"{'ok    ' if ok else 'FAILED'} {seconds:8.2f} s  {name}")

    @property
    def result(self) -> dict[str, Any]:
        sent = all(file["acknowledged"] for file in self.files)
        ok = bool(self.files) and sent and all(step["ok"] for step in self.steps)
        return {"ok": ok, "steps": self.steps, "files": self.files}


@dataclass
class Station:
    """One station of the demonstration: its home, its daemon, and how to ask it things."""

    home: Path
    code: str
    host: str
    password: str = field(default_factory=lambda: secrets.token_hex(4).upper(), repr=False)
    daemon: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, **more_environment: str) -> str:
        environment = {**os.environ, "OFTP2D_HOME": str(self.home), **more_environment}
        done = subprocess.run(
            [*OFTP2D, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if done.returncode:
            told = (done.stderr.strip() or done.stdout.strip()).replace("\n", " ")
            raise FailedError(f"oftp2d {' '.join(arguments[:2])} ended with {done.returncode}: {told}")
        return done.stdout

    def ask(self, *arguments: str, **more_environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", **more_environment))

    def start(self) -> None:
        log = (self.home / "daemon.log").open("ab")
        environment = {**os.environ, "OFTP2D_HOME": str(self.home)}
        self.daemon = subprocess.Popen([*OFTP2D, "run"], env=environment, stdout=log, stderr=log)
        log.close()
        wait_for("the daemon to answer", self.daemon_answers)

    def daemon_answers(self) -> bool:
        if self.daemon is not None and self.daemon.poll() is not None:
            raise FailedError(f"the daemon of {self.code} ended: {(self.home / 'daemon.log').read_text()[-600:]}")
        try:
            return bool(self.ask("status")["listeners"])
        except FailedError:
            return False

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
    """A certification authority that both stations trust."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Demonstration CA")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_certificate_signing(), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, request: bytes) -> bytes:
        asked = x509.load_pem_x509_csr(request)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer_name=self.certificate.subject, subject_name=asked.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=20))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in asked.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _certificate_signing() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **unused)


def make_files(folder: Path) -> list[Path]:
    """Files of kinds that hurt: empty, tiny, compressible, and 64 MiB of noise."""
    folder.mkdir()
    noise = random.Random(5024)  # noqa: S311 - repeatable content, no secret
    contents = {
        "empty.dat": b"",
        "orders.edi": b"UNA:+.? 'UNB+UNOA:1+A+B+260101:1200+1'UNZ+0+1'\r\n",
        "blanks.txt": b" " * 100_000,
        "drawing.bin": noise.randbytes(3 * MEBIBYTE + 17),
        "archive-64-mib.bin": noise.randbytes(64 * MEBIBYTE),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


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


def transfer(sender: Station, receiver: Station, path: Path, number: int) -> dict[str, Any]:
    """Send one file, wait for its receipt, and compare what arrived with it."""
    begun = time.monotonic()
    dataset = f"DEMO{number:04}"
    sent = sender.ask("send", receiver.code, str(path), "--as", dataset, "--wait", "--timeout", str(PATIENCE))
    seconds = round(time.monotonic() - begun, 3)
    arrived = [file for file in receiver.ask("inbox", "list", "--limit", "1000")["files"] if file["dataset"] == dataset]
    if len(arrived) != 1:
        raise FailedError(f"{path.name} is {len(arrived)} times in the inbox of {receiver.code}")
    copy = receiver.home / f"copy-{dataset}"
    receiver.run("inbox", "get", arrived[0]["id"], "-o", str(copy))
    same = digest(copy) == digest(path)
    copy.unlink()
    if not same:
        raise FailedError(f"{path.name} arrived with another content")
    return {
        "name": path.name,
        "octets": path.stat().st_size,
        "seconds": seconds,
        "acknowledged": sent["state"] == "acknowledged",
    }


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    request, issued, anchor = (station.home / name for name in ("request.pem", "issued.pem", "anchor.pem"))
    station.run(
        *("cert", "generate", "--alias", "trusted", "--cn", station.host, "--host", station.host),
        *("--csr", "-o", str(request)),
    )
    issued.write_bytes(authority.issue(request.read_bytes()))
    anchor.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    station.run("cert", "import", str(anchor), "--anchor", "--alias", "demonstration-ca")
    station.run("cert", "import", str(issued), "--own")


def demonstrate(report: Report, folder: Path, given: list[Path]) -> None:
    with contextlib.ExitStack() as stack:
        with report.step("make two stations"):
            ours, theirs, authority = prepare(folder)
        for station in (ours, theirs):
            with report.step(f"start the daemon of {station.host}"):
                stack.callback(lambda station=station: station.daemon and station.daemon.kill())
                station.start()
            with report.step(f"get a certificate for {station.host}"):
                certify(station, authority)
        with report.step("enter what each knows of the other: address, passwords, identification data"):
            introduce(ours, theirs, theirs.port)
            introduce(theirs, ours, ours.port)
        with report.step("test the connection"):
            ours.run("partner", "test", theirs.code)
        with report.step("request a certificate, get it, and switch authentication on, on both sides"):
            ours.run("exchange", "request", theirs.code)
            wait_for(
                "both certificates and the latch",
                lambda: acquainted(ours, theirs) and acquainted(theirs, ours),
            )
        files = given or make_files(folder / "files")
        with report.step(f"send {len(files)} files each way, acknowledged and compared"):
            send_all(report, ours, theirs, files)
        for station in (ours, theirs):
            with report.step(f"stop the daemon of {station.host}"):
                station.stop()


def send_all(report: Report, ours: Station, theirs: Station, files: list[Path]) -> None:
    """Both ways at once, one file at a time each way."""

    def way(sender: Station, receiver: Station) -> None:
        for number, path in enumerate(files, 1):
            done = transfer(sender, receiver, path, number)
            report.files.append(done)
            report.say(
                f"       {done['seconds']:8.2f} s  {sender.host} -> {receiver.host}: {done['name']}, {done['octets']} octets"
            )

    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(way, ours, theirs), pool.submit(way, theirs, ours)]:
            running.result()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/demo",
        description="Two stations get to know each other by identification data alone, and exchange files.",
        epilog="Exit code 0 only if everything happened. The last line printed is the result as one JSON object.",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="files to exchange; by default it makes some"
    )
    parser.add_argument(
        "--json", action="store_true", help="print nothing but the JSON object; the report goes to stderr"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="make the stations there and leave them for looking around"
    )
    arguments = parser.parse_args()
    for path in arguments.files:
        if not path.is_file():
            parser.error(f"{path} is no file")
    report = Report(quiet=arguments.json)
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="oftp2d-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        demonstrate(report, folder.resolve(), [path.resolve() for path in arguments.files])
    except (FailedError, subprocess.TimeoutExpired, OSError) as error:
        report.say(f"failed: {error}")
    finally:
        if arguments.keep:
            report.say(f"the stations are in {folder}: OFTP2D_HOME={folder}/alpha oftp2d run")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report.result), flush=True)
    return 0 if report.result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
