"""A crowd of partners: many stations with homes, ledgers, keys and ports of their own, all in one process.

``found`` makes the home of one station that knows others, in-process and without a daemon. Run as a script it serves every home
in a folder until it is told to stop: each is the real daemon, with real sockets.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from stations import Authority

from oftp2d.certificates import Certificates
from oftp2d.config import FILE_NAME
from oftp2d.credentials import Profile, signing_request
from oftp2d.ledger import AcxMode, Authentication, Demand, Ledger, NewPartner, Station
from oftp2d.vault import Vault

READY = "all of them run"
FOLDER = "partner-*"
SECURED: dict[str, Any] = {
    "sign_files": True,
    "compress_files": True,
    "encrypt_files": True,
    "signed_receipts": True,
    "cipher_suite": 6,
    "incoming_signed": Demand.REQUIRED,
    "incoming_encrypted": Demand.REQUIRED,
    "authentication": Authentication.ON,
    "client_certificate": True,
    "acx": AcxMode.KNOWN,
}
"""What two stations agree on: all of file security both ways, and sessions that prove who is there."""

_SETTINGS = """
[[listeners]]
transport = "tls"
host = "127.0.0.1"
port = {port}
[retry]
first_seconds = 1
max_seconds = 2
[spool]
free_octets_reserved = 0
[limits]
max_sessions = 2000
max_sessions_per_peer_address = 2000
bad_passwords = 1000
[revocation]
mode = "off"
[logging]
level = "info"
"""


@dataclass(frozen=True)
class Credential:
    """A key pair with its certificate."""

    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate


@dataclass(frozen=True)
class Member:
    """A station: its home, its code, where it answers, and its certificate."""

    home: Path
    code: str
    port: int
    credential: Credential

    def ledger(self) -> Ledger:
        """The ledger itself, whether or not a daemon runs."""
        return Ledger.open(f"sqlite:///{self.home / 'ledger.sqlite'}")


def issue(authority: Authority, code: str, host: str) -> Credential:
    """A new key pair for a station, with a certificate of the authority."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    profile = Profile(common_name=host, station=code, hosts=(host,))
    return Credential(key, x509.load_pem_x509_certificate(authority.issue(signing_request(key, profile))))


def found(member: Member, authority: Authority, known: Sequence[Member], *, reachable: Sequence[Member]) -> None:
    """Make the home of a station that knows others, with their certificates; only those ``reachable`` it can call."""
    member.home.mkdir(mode=0o700)
    vault, now = Vault.create(member.home / "master.key"), datetime.now(UTC)
    with closing(member.ledger()) as ledger:
        ledger.stations.add(Station(code=member.code, name=member.code, main=True))
        store = Certificates(ledger, vault)
        store.import_anchors(authority.certificate.public_bytes(Encoding.PEM), now=now)
        ours = store.adopt(
            member.credential.key, member.credential.certificate, alias="old", now=now, station=member.code
        )
        for number, other in enumerate(known):
            new = NewPartner(
                code=other.code,
                name=other.code,
                station=member.code,
                host="127.0.0.1" if other in reachable else None,
                port=other.port,
                server_name=_host(other),
                password_ours=vault.seal(_password(member.code)),
                password_theirs=vault.seal(_password(other.code)),
                **SECURED,
            )
            partner = ledger.partners.add(new, now)
            store.import_partner(
                other.credential.certificate.public_bytes(Encoding.PEM),
                partner_id=partner.id,
                station=other.code,
                now=now,
            )
            if number % 2:
                # The others got it by hand, and nobody has ever said so.
                ledger.certificates.confirm(partner.id, ours.fingerprint, now - timedelta(days=1), "manual")
    (member.home / FILE_NAME).write_text(_SETTINGS.format(port=member.port), encoding="utf-8")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _host(member: Member) -> str:
    names = member.credential.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.DNSName)[0])


def _password(code: str) -> bytes:
    return code[-8:].encode("ascii")


def serve(folder: Path) -> int:
    """Run a daemon for every home in the folder until SIGTERM; the exit code."""
    # Some of it may only be imported once the reactor is installed, and none of it is needed to found stations.
    from oftp2d import heap, loop  # noqa: PLC0415

    heap.share()
    loop.install()
    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.defer import Deferred, gatherResults  # noqa: PLC0415
    from twisted.logger import globalLogBeginner  # noqa: PLC0415

    from oftp2d.config import LogFormat, LogLevel, load  # noqa: PLC0415
    from oftp2d.daemon import Daemon  # noqa: PLC0415
    from oftp2d.logs import LineObserver  # noqa: PLC0415

    globalLogBeginner.beginLoggingTo(
        [LineObserver(sys.stderr, LogLevel.INFO, LogFormat.TEXT)], redirectStandardIO=False
    )
    daemons = [Daemon(reactor, load(home)) for home in sorted(folder.glob(FOLDER))]
    code = 0

    async def begin() -> None:
        for daemon in daemons:
            await daemon.start()
        print(READY, flush=True)

    def end(_number: int, _frame: object) -> None:
        reactor.callFromThread(stop)

    def stop() -> None:
        stopping = [Deferred.fromCoroutine(daemon.stop(seconds=5)) for daemon in daemons]
        gatherResults(stopping).addErrback(failed).addBoth(lambda _: reactor.stop())

    def failed(failure: Any) -> None:
        nonlocal code
        code = 1
        print(failure.getTraceback(), file=sys.stderr, flush=True)

    def start() -> None:
        signal.signal(signal.SIGTERM, end)
        Deferred.fromCoroutine(begin()).addErrback(lambda failure: (failed(failure), reactor.stop()))

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    return code


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1])))
