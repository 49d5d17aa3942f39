"""Stations as people run them: daemon processes with homes, ledgers, ports and keys of their own.

A ``House`` holds the daemons of one test and looks at their logs when it closes. A ``Station`` is founded in-process,
which is quick, and run as ``python -m oftp2d run`` with warnings as errors. A ``Wire`` is a TCP relay between two of
them that counts what passes and acts at an exact octet: kill a daemon there, or cut the connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from oftp2d.certificates import Certificates
from oftp2d.client import AdminClient
from oftp2d.config import FILE_NAME
from oftp2d.errors import DaemonUnreachableError
from oftp2d.ledger import Direction, Kind, Ledger, NewOutgoing, NewPartner, Receipt, Transfer, TransferState, Transport
from oftp2d.ledger import Station as StationRecord
from oftp2d.spool import Spool
from oftp2d.vault import Vault
from tests import pki

PATIENCE: Final = 40.0
"""Seconds after which something that should have happened has not."""

ROOT: Final = Path(__file__).parents[2]
MEBIBYTE: Final = 1024 * 1024

Settings = Mapping[str, Mapping[str, object]]

QUICK: Final[Settings] = {
    "retry": {"first_seconds": 1, "max_seconds": 1},
    "spool": {"free_octets_reserved": 0},
    "revocation": {"mode": "off"},
    "limits": {"max_sessions_per_peer_address": 50, "bad_passwords": 1000},
}
"""What all stations of the tests have in common: no long waits, and many peers from one address."""

_BAD: Final = ("Traceback", " critical ", "internal error", "Unhandled")
"""What no log of a station may hold, whatever its peers do."""


def wait_for(
    what: str, reached: Callable[[], object], *, seconds: float = PATIENCE, told: Callable[[], str] = str
) -> Any:
    """Wait until ``reached`` returns something true, and return that; else fail with what ``told`` says."""
    end = time.monotonic() + seconds
    while not (answer := reached()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} seconds for {what}\n{told()}")
        time.sleep(0.02)
    return answer


_GIVEN: set[int] = set()
"""Ports that were given out: nobody may be listening on one yet, and no other station may have it."""


def free_port() -> int:
    """A port to listen on, outside of the range that outgoing connections take: a daemon comes back to it.

    Until a daemon listens there another process may find it free: each worker looks among ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(12_000 + worker % 16, 30_000, 16)  # noqa: S311 - not secret
        if port in _GIVEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _GIVEN.add(port)
            return port


def peak_mebibytes(pid: int) -> float:
    """The most memory that a process has had resident so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def noise(octets: int, seed: int = 0) -> bytes:
    """Repeatable content of this size that does not compress."""
    return random.Random(seed).randbytes(octets)  # noqa: S311 - repeatable, not secret


@dataclass
class Station:
    """One station: its home folder, and its daemon while it runs."""

    home: Path
    credential: pki.Issued
    settings: Settings
    tls_port: int = field(default_factory=free_port)
    tcp_port: int = field(default_factory=free_port)
    daemon: subprocess.Popen[bytes] | None = None
    python: str = sys.executable
    """That of the environment in which the daemon runs."""

    @property
    def code(self) -> str:
        assert self.credential.station is not None
        return self.credential.station

    def port(self, transport: Transport) -> int:
        return self.tls_port if transport is Transport.TLS else self.tcp_port

    # --- before it runs, and beside the daemon -----------------------------------------------------------------

    def found(self) -> None:
        """What ``oftp2d init`` does, with keys from the pool and the authorities of the test PKI as anchors."""
        self.home.mkdir(mode=0o700)
        vault = Vault.create(self.home / "master.key")
        now = datetime.now(UTC)
        with self.ledger() as ledger:
            ledger.stations.add(StationRecord(code=self.code, name=self.code, main=True))
            certificates = Certificates(ledger, vault)
            certificates.adopt(self.credential.key, self.credential.certificate, alias="station", now=now)
            for hierarchy in ("A", "B"):
                certificates.import_anchors(pki.issuing(hierarchy).pem, now=now)
        self.configure()

    def configure(self, **sections: Mapping[str, object]) -> None:
        """Write the configuration; ``sections`` change what was."""
        self.settings = _merged(self.settings, sections)
        lines = []
        for transport in Transport:
            port = self.port(transport)
            lines += ["[[listeners]]", f'transport = "{transport}"', 'host = "127.0.0.1"', f"port = {port}"]
        for name, section in self.settings.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
        (self.home / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def know(self, code: str, *, port: int | None, transport: Transport = Transport.TLS, **more: Any) -> None:
        """Enter a partner, which is on this machine; without a port it has no address and is never called."""
        new = NewPartner(
            code=code,
            name=code,
            station=self.code,
            host=None if port is None else "127.0.0.1",
            port=port or 1,
            transport=transport,
            password_ours=self._sealed(password(self.code)),
            password_theirs=self._sealed(password(code)),
            **more,
        )
        with self.ledger() as ledger:
            ledger.partners.add(new, datetime.now(UTC))

    def hold(self, code: str, *issued: pki.Issued) -> None:
        """Enter certificates of a partner, one after the other."""
        with self._store() as (certificates, ledger):
            partner = ledger.partners.by_code(code)
            assert partner is not None
            for each in issued:
                certificates.import_partner(
                    each.der, partner_id=partner.id, station=each.station or code, now=datetime.now(UTC)
                )

    def own(self, issued: pki.Issued, alias: str, **more: Any) -> None:
        """Have one more certificate of our own."""
        with self._store() as (certificates, _):
            certificates.adopt(issued.key, issued.certificate, alias=alias, now=datetime.now(UTC), **more)

    @contextlib.contextmanager
    def _store(self) -> Iterator[tuple[Certificates, Ledger]]:
        with self.ledger() as ledger:
            yield Certificates(ledger, Vault.open(self.home / "master.key")), ledger

    def _sealed(self, text: str) -> bytes:
        return Vault.open(self.home / "master.key").seal(text.encode("ascii"))

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger itself, whether or not the daemon runs."""
        ledger = Ledger.open(f"sqlite:///{self.home / 'ledger.sqlite'}")
        try:
            yield ledger
        finally:
            ledger.close()

    def queue(self, partner: str, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Put files into the queue behind the daemon's back; their transfers by dataset name."""
        spool = Spool(self.home / "spool")
        queued = {}
        with self.ledger() as ledger:
            found = ledger.partners.by_code(partner)
            assert found is not None
            for dataset, content in contents.items():
                staged = spool.stage(io.BytesIO(content))
                new = NewOutgoing(
                    kind=Kind.FILE,
                    partner_id=found.id,
                    dataset=dataset,
                    originator=self.code,
                    destination=partner,
                    octets=staged.octets,
                    spool_name=staged.name,
                    sha256=staged.sha256,
                )
                queued[dataset] = ledger.transfers.queue(new, datetime.now(UTC)).id
        return queued

    def stored(self, direction: Direction, dataset: str | None = None) -> list[Transfer]:
        """The transfers of a direction as the database has them, oldest first."""
        with self.ledger() as ledger:
            found = ledger.transfers.list(direction=direction, limit=100_000)
        return [transfer for transfer in reversed(found) if dataset in {None, transfer.dataset}]

    def receipt(self, transfer_id: str) -> Receipt | None:
        """The end response for an incoming transfer as the database has it."""
        with self.ledger() as ledger:
            return ledger.receipts.get(transfer_id)

    def inbox_files(self) -> list[Path]:
        """What lies in the inbox, whatever the ledger says."""
        return sorted((self.home / "spool" / "inbox").iterdir())

    def part_files(self) -> list[Path]:
        """What is still growing, or was left behind."""
        return sorted((self.home / "spool" / "parts").iterdir())

    # --- the daemon --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the daemon without waiting for it."""
        assert self.daemon is None
        environment = {
            **os.environ,
            "OFTP2D_HOME": str(self.home),
            "PYTHONWARNINGS": "error",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "protocol"))),
        }
        with self.log_path.open("ab") as log:
            self._log_from = log.tell()
            command = [self.python, "-m", "oftp2d", "run"]
            self.daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the daemon, and wait until it runs."""
        self.begin()
        self.ready()

    def ready(self) -> None:
        """Wait until the daemon that was begun runs."""

        def runs() -> bool:
            assert self.daemon is not None
            assert self.daemon.poll() is None, self.tail()
            return "the station runs" in self.log()[self._log_from :]

        wait_for("the daemon to run", runs, told=self.tail)

    def kill(self) -> None:
        """End the daemon as a crash does."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def stop(self, *, seconds: float = PATIENCE) -> int:
        """Ask the daemon to stop, and wait for its exit code."""
        self.signal(signal.SIGTERM)
        return self.gone(seconds=seconds)

    def signal(self, number: signal.Signals) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)

    def gone(self, *, seconds: float = PATIENCE) -> int:
        """Wait until the daemon has ended; its exit code."""
        assert self.daemon is not None
        try:
            code = self.daemon.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not stop within {seconds:g} seconds\n{self.tail()}") from None
        self.daemon = None
        return code

    def limit_files(self, octets: int) -> None:
        """From now on no file of the daemon grows beyond this: as good as a full disk. -1 lifts it again."""
        assert self.daemon is not None
        resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))

    # --- its log -----------------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        return self.home / "daemon.log"

    def log(self) -> str:
        return self.log_path.read_text("utf-8") if self.log_path.exists() else ""

    def lines(self, *words: str) -> list[str]:
        """The lines of the log that hold all the words."""
        return [line for line in self.log().splitlines() if all(word in line for word in words)]

    def line(self, *words: str, count: int = 1, seconds: float = PATIENCE) -> str:
        """Wait for so many lines that hold all the words; the last of them."""
        reached: Callable[[], object] = lambda: len(self.lines(*words)) >= count  # noqa: E731 - it has a type
        wait_for(f"{count} lines with {words} in the log of {self.code}", reached, seconds=seconds, told=self.tail)
        return self.lines(*words)[count - 1]

    def tail(self) -> str:
        return f"--- log of {self.code}\n" + "\n".join(self.log().splitlines()[-40:])

    # --- what people ask of it ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def admin(self) -> Iterator[AdminClient]:
        with AdminClient(self.home / "admin.sock") as client:
            yield client

    def get(self, path: str, **parameters: str | int | None) -> dict[str, Any]:
        with self.admin() as client:
            return client.get(path, **parameters)

    def post(self, path: str, *, calls: bool = False, **body: Any) -> dict[str, Any]:
        with self.admin() as client:
            return client.post(path, body, calls=calls)

    def send(self, partner: str, content: bytes, dataset: str, **how: str | int) -> str:
        """Queue a file through the interface, with any more parameters it takes; its transfer."""
        with self.admin() as client:
            sent = client.upload(
                "/v1/transfers",
                io.BytesIO(content),
                len(content),
                lambda _moved: None,
                partner=partner,
                dataset=dataset,
                **how,
            )
        return str(sent["id"])

    def transfer(self, transfer_id: str) -> dict[str, Any]:
        return self.get(f"/v1/transfers/{transfer_id}")

    def state(self, transfer_id: str) -> TransferState:
        return TransferState(self.transfer(transfer_id)["state"])

    def reaches(self, transfer_id: str, state: TransferState, *, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until a transfer is in a state; what the interface says of it then."""

        def reached() -> bool:
            with contextlib.suppress(DaemonUnreachableError):
                return self.state(transfer_id) is state
            return False

        wait_for(f"transfer {transfer_id} of {self.code} to be {state}", reached, seconds=seconds, told=self.tail)
        return self.transfer(transfer_id)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/v1/status")["sessions"]
        return found

    def has_no_session(self, *, seconds: float = PATIENCE) -> None:
        """Wait until every session is over."""
        wait_for(f"the sessions of {self.code} to end", lambda: not self.sessions(), seconds=seconds, told=self.tail)

    def delivered(self, dataset: str, content: bytes) -> None:
        """Demand that the file is in the inbox exactly once, with this content."""
        found = [transfer for transfer in self.stored(Direction.IN) if transfer.dataset == dataset]
        assert [transfer.state for transfer in found] == [TransferState.DELIVERED], found
        (transfer,) = found
        path = self.placed(transfer)
        assert path.name == transfer.spool_name
        assert transfer.octets == len(content)
        assert transfer.sha256 == hashlib.sha256(content).hexdigest() == _digest(path)

    def arrived(self, dataset: str) -> tuple[Transfer, bytes]:
        """The one file of this name, which must be in the inbox once, and what lies there."""
        (transfer,) = self.stored(Direction.IN, dataset)
        assert transfer.state is TransferState.DELIVERED
        path = self.placed(transfer)
        assert transfer.sha256 == _digest(path)
        return transfer, path.read_bytes()

    def placed(self, transfer: Transfer) -> Path:
        """The one file of a delivered transfer; it gets into the inbox behind the ledger's word for it."""

        def files() -> list[Path]:
            return [path for path in self.inbox_files() if path.name.startswith(transfer.id)]

        wait_for(f"{transfer.dataset} in the inbox", files, told=self.tail)
        (path,) = files()
        return path

    def scars(self) -> list[str]:
        """What in the log says that the daemon met something it did not understand."""
        lines = self.log().splitlines()
        return ["\n".join(lines[at : at + 20]) for at, line in enumerate(lines) if any(word in line for word in _BAD)]


class House:
    """The daemons and wires of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stations: list[Station] = []
        self._closing = contextlib.ExitStack()

    def station(self, certificate: str = "CA01", **settings: Mapping[str, object]) -> Station:
        """Found a station whose code is that of a certificate of the test PKI."""
        home = self.folder / f"s{len(self.stations)}"
        station = Station(home, pki.certificate(certificate), _merged(QUICK, settings))
        station.found()
        self.stations.append(station)
        return station

    def pair(
        self, *, transport: Transport = Transport.TLS, theirs: Settings | None = None, **ours: Mapping[str, object]
    ) -> tuple[Station, Station]:
        """Two stations that know each other and are not started yet; only the first has an address of the second."""
        first, second = self.station(**ours), self.station("CB01", **(ours if theirs is None else theirs))
        first.know(second.code, port=second.port(transport), transport=transport)
        second.know(first.code, port=None, transport=transport)
        return first, second

    def wire(self, target: int) -> Wire:
        """A relay to a port of this machine."""
        wire = Wire(target)
        self._closing.callback(wire.close)
        return wire

    def start(self, *stations: Station) -> None:
        """Start the daemons, by default all of them, side by side."""
        chosen = stations or tuple(self.stations)
        for station in chosen:
            station.begin()
        for station in chosen:
            station.ready()

    def close(self) -> None:
        """End all of it the hard way; what is still to be checked has been waited for."""
        for station in self.stations:
            station.kill()
        self._closing.close()

    def scars(self) -> list[str]:
        """What in the logs says that a daemon met something it did not understand."""
        return [scar for station in self.stations for scar in station.scars()]


class Way(str):
    """A direction of a wire."""

    __slots__ = ()


OUT: Final = Way("from the caller")
BACK: Final = Way("to the caller")


@dataclass(eq=False)
class _Trigger:
    way: Way
    octets: int
    act: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)


class Wire:
    """A relay for one station's calls to another. It counts octets each way and acts when a count is reached.

    The octets up to the count have been handed to the receiving side's socket when the act begins, none behind it have.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._triggers: list[_Trigger] = []
        self._open: list[socket.socket] = []
        self._closed = False
        self.passed: dict[Way, int] = {OUT: 0, BACK: 0}
        """Octets that have passed so far."""
        self.record = False
        """Whether to keep what passes in ``recorded``."""
        self.recorded: dict[Way, bytes] = {OUT: b"", BACK: b""}
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def at(self, way: Way, octets: int, act: Callable[[], None]) -> threading.Event:
        """Act when ``octets`` more have passed this way; the event says that it was done."""
        with self._lock:
            trigger = _Trigger(way, self.passed[way] + octets, act)
            self._triggers.append(trigger)
        return trigger.done

    def cut(self) -> None:
        """Break all connections, as a cable does that is pulled and plugged in again: both ends see a reset."""
        with self._lock:
            broken, self._open = self._open, []
        for plug in broken:
            vanish(plug)

    def close(self) -> None:
        self._closed = True
        vanish(self._server)
        self.cut()

    def _serve(self) -> None:
        while not self._closed:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            try:
                called = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                vanish(caller)
                continue
            called.settimeout(None)
            with self._lock:
                self._open += [caller, called]
            for source, target, way in ((caller, called, OUT), (called, caller, BACK)):
                threading.Thread(target=self._relay, args=(source, target, way), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, way: Way) -> None:
        try:
            while octets := source.recv(65_536):
                self._pass(octets, target, way)
        except OSError:
            pass
        for plug, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
            with contextlib.suppress(OSError):
                plug.shutdown(how)

    def _pass(self, octets: bytes, target: socket.socket, way: Way) -> None:
        while octets:
            with self._lock:
                next_ = min((each.octets for each in self._triggers if each.way == way), default=None)
                left = len(octets) if next_ is None else max(next_ - self.passed[way], 0)
            piece, octets = octets[:left], octets[left:]
            target.sendall(piece)
            with self._lock:
                self.passed[way] += len(piece)
                if self.record:
                    self.recorded[way] += piece
                due = [each for each in self._triggers if each.way == way and each.octets <= self.passed[way]]
                self._triggers = [each for each in self._triggers if each not in due]
            for trigger in due:
                trigger.act()
                trigger.done.set()


def vanish(plug: socket.socket) -> None:
    """Close a connection with a reset."""
    with contextlib.suppress(OSError):
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with contextlib.suppress(OSError):
        plug.shutdown(socket.SHUT_RDWR)
    plug.close()


def password(code: str) -> str:
    """What the station of this code says as its password."""
    return code[-8:].strip()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _merged(base: Settings, changes: Settings) -> Settings:
    return {name: {**base.get(name, {}), **changes.get(name, {})} for name in {**base, **changes}}
