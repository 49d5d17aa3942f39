"""What tools/bench measures: each number beside a reference of the same run, because machines differ and are noisy.

codec: data buffers written and read, octets of the file per second. transfer: one file between two daemons over TLS,
durable, against a bare TLS pipe of Twisted on the same reactor with the same write sizes, and against OpenSSH sftp where
that is installed. secure: a file signed, compressed and encrypted, and opened again, against the slowest of these stages
alone and against the openssl command. smallfiles: files of 1 KiB in one session, each with its end response. sessions:
memory of an idle daemon, and of each idle TLS session. A number that was not measured is null, and beside it stands why.

Only where it is named: large, one file of 10 GiB that is signed, compressed and encrypted, sent, opened and acknowledged,
and the most memory that both daemons took. It wants 40 GiB of room.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sftp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from rich import box
from rich.console import Console
from rich.table import Table
from secure import write_drawing
from soak import FAULTS
from soak import soak as renew_among
from stations import SECURED, FailedError, Station, acquainted, certify, introduce, prepare, wait_for

from oftp2 import buffers, requests
from oftp2.framing import FrameReader
from oftp2.negotiation import Capabilities
from oftp2.session import Session
from oftp2.values import Role
from oftp2d.client import AdminClient
from oftp2d.config import socket_path
from oftp2d.errors import OperatorError

MEBIBYTE = 1024 * 1024
BUFFER_SIZE = 32_768
READ = 256 * 1024


@dataclass(frozen=True)
class Work:
    """How much to do."""

    codec: int
    transfer: int
    secure: int
    large: int
    small_files: tuple[int, int]
    sessions: int
    partners: int


FULL = Work(
    codec=512 * MEBIBYTE,
    transfer=1024 * MEBIBYTE,
    secure=1024 * MEBIBYTE,
    large=10_240 * MEBIBYTE,
    small_files=(100, 10_000),
    sessions=1_000,
    partners=50,
)
QUICK = Work(
    codec=64 * MEBIBYTE,
    transfer=128 * MEBIBYTE,
    secure=128 * MEBIBYTE,
    large=512 * MEBIBYTE,
    small_files=(50, 500),
    sessions=100,
    partners=5,
)


Pair = Callable[[], tuple[Station, Station]]
"""Two daemons that know each other: made when they are first needed, and the same for all."""


def codec(work: Work, _pair: Pair) -> dict[str, float]:
    """Gigabytes of file octets per second that are written into, and read out of, framed data buffers."""
    chunk = os.urandom(MEBIBYTE)
    rounds = work.codec // MEBIBYTE
    begun = time.perf_counter()
    for _ in range(rounds):
        encoded = buffers.encode(chunk, BUFFER_SIZE, last=False)
    encoding = time.perf_counter() - begun
    stream = bytes(encoded.stream)
    reader = FrameReader()
    begun = time.perf_counter()
    for _ in range(rounds):
        # As much at a time as a connection brings.
        for at in range(0, len(stream), READ):
            reader.feed(stream[at : at + READ])
            while (rows := reader.take_alike(ord("D"), len(encoded))) is not None:
                buffers.decode_rows(rows)
    decoding = time.perf_counter() - begun
    return {"encode_gb_s": work.codec / encoding / 1e9, "decode_gb_s": work.codec / decoding / 1e9}


@contextlib.contextmanager
def two_stations() -> Iterator[tuple[Station, Station]]:
    """Two daemons that know each other; the first has no address of the second until it is told to call."""
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-bench-"))
    ours, theirs, authority = prepare(folder)
    try:
        for station in (ours, theirs):
            settings = station.home / "oftp2d.toml"
            settings.write_text(_without_limits(settings.read_text()))
            station.start()
            certify(station, authority)
        introduce(ours, theirs, theirs.port)
        introduce(theirs, ours, ours.port)
        ours.run("exchange", "request", theirs.code)
        wait_for("the latch", lambda: acquainted(ours, theirs) and acquainted(theirs, ours))
        yield ours, theirs
    finally:
        for station in (ours, theirs):
            station.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _without_limits(settings: str) -> str:
    """The configuration of a station that is called a thousand times by one address."""
    lines = settings.splitlines()
    values = {"max_sessions": 2_000, "max_sessions_per_peer_address": 2_000}
    return "\n".join(
        next((f"{name} = {value}" for name, value in values.items() if line.lstrip("# ").startswith(f"{name} =")), line)
        for line in lines
    )


def transfer(work: Work, pair: Pair) -> dict[str, float | str | None]:
    """One file between two daemons, from the moment the call may begin to its acknowledgement."""
    ours, theirs = pair()
    with AdminClient(socket_path(ours.home)) as admin:
        path = ours.home / "big.bin"
        with path.open("wb") as file:
            for _ in range(work.transfer // MEBIBYTE):
                file.write(os.urandom(MEBIBYTE))
        seconds = _send_all(admin, ours, theirs, lambda: ours.run("send", theirs.code, str(path)), 1)
        pipe = _pipe(ours.home, work.transfer)
        measured: dict[str, float | str | None] = {
            "mb_s": work.transfer / seconds / 1e6,
            "pipe_mb_s": work.transfer / pipe / 1e6,
            "pipe_ratio": pipe / seconds,
        }
        try:
            other = sftp.seconds(ours.home, path)
        except sftp.UnavailableError as error:
            return {**measured, "sftp_ratio": None, "sftp_ratio_reason": str(error)}
    return {**measured, "sftp_mb_s": work.transfer / other / 1e6, "sftp_ratio": other / seconds}


def _send_all(admin: AdminClient, ours: Station, theirs: Station, queue: Callable[[], object], count: int) -> float:
    """Queue while the partner is inactive, then let the calls begin: seconds until everything is acknowledged."""
    before = admin.get("/v1/status")["transfers"].get("acknowledged", 0)
    ours.run("partner", "change", theirs.code, "--inactive")
    queue()
    admin.patch(f"/v1/partners/{theirs.code}", {"active": True})
    begun = time.monotonic()
    while admin.get("/v1/status")["transfers"].get("acknowledged", 0) < before + count:
        time.sleep(0.05)
    return time.monotonic() - begun


def _pipe(folder: Path, octets: int) -> float:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "pipe.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    command = [sys.executable, str(Path(__file__).with_name("pipe.py")), str(folder), str(octets)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def secure(work: Work, _pair: Pair) -> dict[str, float | str | None]:
    """File security, in a process of its own: its memory is measured too."""
    with tempfile.TemporaryDirectory(prefix="oftp2d-bench-") as folder:
        command = [sys.executable, str(Path(__file__).with_name("secure.py")), folder, str(work.secure)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FailedError(done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}")
        return dict(json.loads(done.stdout))


def large(work: Work, _pair: Pair) -> dict[str, float]:
    """A large file through all of file security and a session, from the command that sends it to its signed receipt."""
    with two_stations() as (ours, theirs):
        for station, partner in ((ours, theirs), (theirs, ours)):
            station.run("partner", "change", partner.code, *SECURED)
        path = ours.home / "large.dat"
        write_drawing(path, work.large)
        begun = time.monotonic()
        ours.run("send", theirs.code, str(path))
        with AdminClient(socket_path(ours.home)) as admin:
            while (sent := admin.get("/v1/transfers", kind="file")["transfers"][0])["state"] != "acknowledged":
                if sent["state"] in {"failed", "refused"}:
                    raise FailedError(f"it did not arrive: {sent['text']}")
                time.sleep(0.2)
        seconds = time.monotonic() - begun
        delivered = next((theirs.home / "spool" / "inbox").iterdir())
        if not filecmp.cmp(path, delivered, shallow=False):
            raise FailedError("another content arrived")
        return {
            "mib": work.large / MEBIBYTE,
            "seconds": seconds,
            "sender_peak_mib": _resident(ours, "VmHWM") / 1024,
            "receiver_peak_mib": _resident(theirs, "VmHWM") / 1024,
        }


def smallfiles(work: Work, pair: Pair) -> dict[str, float]:
    """Files of 1 KiB per second, each acknowledged: a few, then many."""
    rates = []
    content = os.urandom(1024)
    ours, theirs = pair()
    with AdminClient(socket_path(ours.home)) as admin:
        path = ours.home / "small.bin"
        path.write_bytes(content)
        for count in work.small_files:

            def queue(count: int = count) -> None:
                for number in range(count):
                    with path.open("rb") as file:
                        admin.upload(
                            "/v1/transfers",
                            file,
                            len(content),
                            lambda _: None,
                            partner=theirs.code,
                            dataset=f"SMALL{number}",
                        )

            rates.append(count / _send_all(admin, ours, theirs, queue, count))
    return {"per_second": rates[1], "per_second_of_few": rates[0], "flatness": rates[1] / rates[0]}


def sessions(work: Work, pair: Pair) -> dict[str, float]:
    """MiB of memory that an idle daemon holds, and KiB that it needs for each idle session over TLS."""
    ours, theirs = pair()
    ours.run("partner", "change", theirs.code, "--authentication", "off", "--no-client-certificate")
    # What it has done before must not count, nor serve again.
    ours.stop()
    ours.start()
    before = _resident(ours)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = ours.port
    with contextlib.ExitStack() as open_:
        for _ in range(work.sessions):
            open_.enter_context(_idle_session(context, theirs, ours, port))
        after = _resident(ours)
    return {"idle_mib": before / 1024, "kib_each": (after - before) / work.sessions, "count": work.sessions}


def _idle_session(context: ssl.SSLContext, caller: Station, called: Station, port: int) -> ssl.SSLSocket:
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
    session = Session(Role.INITIATOR, Capabilities(), code=caller.code, password=caller.password)
    session.connected(0)
    while session.terms is None:
        connection.sendall(session.data_to_send())
        octets = connection.recv(65_536)
        if not octets:
            raise FailedError(f"{called.code} does not take so many sessions")
        session.receive_data(octets, 0)
    assert session.accepts(requests.ChangeDirection)
    return connection


def _resident(station: Station, what: str = "VmRSS") -> float:
    """KiB of memory that its daemon has, or with VmHWM has had at most."""
    assert station.daemon is not None
    status = Path(f"/proc/{station.daemon.pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith(what)))


def soak(work: Work, _pair: Pair) -> dict[str, Any]:
    """One renewal for many partners while files flow both ways; ``FAULTS`` are to be none."""
    found = renew_among(work.partners, rounds=3)
    table = Table("renewal for all partners", f"{work.partners} partners", box=box.SIMPLE_HEAD)
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:.1f}" if isinstance(value, float) else str(value))
    Console(stderr=True).print(table)
    return found


BENCHMARKS: dict[str, Callable[[Work, Pair], dict[str, Any]]] = {
    "codec": codec,
    "transfer": transfer,
    "secure": secure,
    "smallfiles": smallfiles,
    "sessions": sessions,
    "large": large,
    "soak": soak,
}
"""In the order in which they are run, whatever order they are named in: sessions changes what the partners agreed."""

ON_REQUEST = frozenset({"large", "soak"})
"""Run only where they are named."""

PROMISED = {
    "codec": ("encode_gb_s", "decode_gb_s"),
    "transfer": ("pipe_ratio", "sftp_ratio", "mb_s"),
    "secure": ("stage_ratio", "open_ratio", "openssl_ratio", "peak_mib"),
    "smallfiles": ("per_second", "flatness"),
    "sessions": ("idle_mib", "kib_each"),
    "large": ("sender_peak_mib", "receiver_peak_mib"),
    "soak": ("partners", "confirmed", "switched", "files_out", "files_in", *FAULTS, "seconds", "peak_mib"),
}
"""What is always there, if only as null with a reason beside it."""


def without(name: str, why: str) -> dict[str, Any]:
    """The document of a benchmark that has no numbers."""
    return {key: value for promised in PROMISED[name] for key, value in ((promised, None), (f"{promised}_reason", why))}


def measured(name: str, work: Work, pair: Pair) -> tuple[dict[str, Any], bool]:
    """The document of a benchmark that is run, and whether it came to its end."""
    try:
        found = BENCHMARKS[name](work, pair)
    except (FailedError, OperatorError, OSError, subprocess.SubprocessError) as error:
        return without(name, f"it failed: {error}"), False
    # A renewal that went wrong tells its numbers, too.
    good = name != "soak" or not any(found[fault] for fault in FAULTS)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}, good


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description=f"Measure {', '.join(BENCHMARKS)}; each prints one JSON object. Exit code 1 if one fails.",
        epilog="Compare ratios of one run, not numbers of two machines. Nothing else should be running.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; by default all but {' and '.join(sorted(ON_REQUEST))}",
    )
    parser.add_argument("--quick", action="store_true", help="less work, under a minute")
    parser.add_argument("--json", action="store_true", help="print one object with all; null for what was not run")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    work = QUICK if arguments.quick else FULL
    results = {name: without(name, "it was not run") for name in BENCHMARKS}
    good = True
    with contextlib.ExitStack() as stack:
        pair = functools.cache(lambda: stack.enter_context(two_stations()))
        for name in (name for name in BENCHMARKS if name in (arguments.names or BENCHMARKS.keys() - ON_REQUEST)):
            results[name], done = measured(name, work, pair)
            good = good and done
            if not arguments.json:
                print(json.dumps({name: results[name]}), flush=True)
    if arguments.json:
        print(json.dumps(results), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
