"""What tools/demo --renewal does: two years in the life of two credentials, in about a minute.

A station has two credential sets. One is its own OFTP2 certificate, signed by an authority of the site (plugin local-ca), and
used towards a partner. The other is a pharmacy's login at a national medicines verification system (plugin nmvs), played by
tools/nmvs-standin on loopback. Stations and stand-in run under a clock of the demonstration, which jumps from one day that
matters to the next; all else is real: daemons, TLS, SOAP, ledger, command line.

The first certificates are of 671 days ago, so that their successors begin yesterday: what OpenSSL says of certificates is
true by the clock of the machine as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import clockfile
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from report import Report
from stations import Authority, FailedError, Station, acquainted, introduce, renew, trust, wait_for

TOOLS = Path(__file__).resolve().parent
DAYS = 730
LEAD = 60
PHARMACY, OWN = "pharmacy-1", "station"
NOT_YET = 6
"""The exit code of ``renew run`` where the source has no successor yet."""

DEFINITIONS = """\
[common]
contact = "edi@alpha.example"

[common.terms]
spread_hours = 0

[[set]]
name = "station"
plugin = "local-ca"

[set.local-ca]
authority = "authority.pem"
key = "file:authority.key"
common_name = "alpha.example"
station = "O0013000001ALPHA"
days = 730

[set.terms]
lead_days = 60
alarm_days = 30
critical_days = 7

[set.store]

[[set]]
name = "pharmacy-1"
plugin = "nmvs"

[set.nmvs]
profile = "standin"
client_login_id = "PHARMACY-1"
user_id = "MACHINE1"
password = "store"

[set.export]
folder = "exported/pharmacy-1"

[set.hook]
command = ["/bin/sh", "-c", "echo $OFTP2D_EVENT $OFTP2D_SET >> hook.log"]
"""


class Lived(Report):
    """What became of the two credential sets, day by day."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self.days: list[dict[str, Any]] = []

    def note(self, station: Station, days_left: int, what: str) -> None:
        """How the sets stand on a day, which is counted towards the end of their first certificates."""
        standing = station.ask("renew", "status")["credential_sets"]
        told = ("name", "phase", "days_left", "verdict", "code", "next_at", "current", "former")
        self.days.append(
            {"day": -days_left, "what": what, "sets": [{name: each[name] for name in told} for each in standing]}
        )
        self.say(f"       {station.run('renew', 'status').strip()}".replace("\n", "\n       "))

    @property
    def result(self) -> dict[str, Any]:
        return {**super().result, "days": self.days}


class Clock:
    """The time of everybody here."""

    def __init__(self, path: Path, begin: datetime) -> None:
        self.path = path
        self.begin = begin
        self.control = ""
        clockfile.set_clock(path, begin)

    def days_left(self, days: int, more: timedelta = timedelta()) -> None:
        """It is so many days before the end of the first certificates, and a little later."""
        now = self.begin + timedelta(days=DAYS - days) + more
        clockfile.set_clock(self.path, now)
        tell(self.control, "/clock", {"set": now.isoformat()})


def tell(control: str, path: str, body: dict[str, Any]) -> Any:
    """Ask the stand-in for something."""
    request = urllib.request.Request(control + path, json.dumps(body).encode())  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        return json.load(answer)


@contextmanager
def standing_in(folder: Path, now: datetime) -> Iterator[dict[str, Any]]:
    """The stand-in as a process; what it tells of itself."""
    command = [sys.executable, str(TOOLS / "standin.py"), str(folder), "--now", now.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline() or "{}")
        finally:
            # It ends with its standard input.
            process.stdin.close()
            process.wait(timeout=60)


def demonstrate(report: Lived, folder: Path) -> None:
    begin = (datetime.now(UTC) - timedelta(days=DAYS - LEAD + 1)).replace(microsecond=0)
    clock = Clock(folder / "clock", begin)
    with ExitStack() as stack:
        with report.step("start the stand-in for the NMVS, on loopback"):
            papers = stack.enter_context(standing_in(folder / "nmvs", begin))
            clock.control = papers["control"]
        with report.step(f"make two stations, {DAYS - LEAD + 1} days ago, and an authority"):
            ours, theirs, authority = founded(folder, clock, stack)
        with report.step("define two credential sets: the station's own certificate, and a login at the NMVS"):
            define(ours, authority, Path(papers["profile"]))
            ours.run("renew", "plan")
        with report.step("the authority of the site signs the first certificate of the station"):
            wait_for("the first certificate", lambda: current(ours, OWN) is not None)
        with report.step("get acquainted with the partner: it accepts that certificate"):
            introduce(ours, theirs, theirs.port)
            introduce(theirs, ours, ours.port)
            ours.run("exchange", "request", theirs.code)
            wait_for("both certificates", lambda: acquainted(ours, theirs) and acquainted(theirs, ours))
        with report.step("fetch the first certificate of the pharmacy with a TAN"):
            enrol(ours, clock)
        first = {name: current(ours, name) for name in (OWN, PHARMACY)}
        report.note(ours, DAYS, "the first certificates")
        with report.step("day -61: nothing is due, and the source, asked by hand, has nothing yet"):
            clock.days_left(LEAD + 1)
            refused = ours.attempt("renew", "run", PHARMACY)
            if refused.returncode != NOT_YET:
                raise FailedError(f"renew run ended with {refused.returncode}: {refused.stderr} {refused.stdout}")
        report.note(ours, LEAD + 1, "not yet")
        with report.step("day -60: both are fetched, staged, checked, probed and activated, by themselves"):
            clock.days_left(LEAD, timedelta(minutes=5))
            for name in first:
                wait_for(f"the successor of {name}", partial(succeeded, ours, name, first))
        with report.step("the old ones are kept, files and program told, the partner offered the new certificate"):
            wait_for("the consumers", lambda: told(ours, PHARMACY) and told(ours, OWN))
            wait_for("the partner", lambda: ours.ask("exchange", "renewal")["state"] == "finished")
            kept(ours, first)
            look_at_files(ours)
        report.note(ours, LEAD, "renewed")
        report.say(f"       {ours.run('exchange', 'renewal').strip()}".replace("\n", "\n       "))
        report.say(
            f"       {ours.run('renew', 'history', PHARMACY, '--limit', '7').strip()}".replace("\n", "\n       ")
        )
        with report.step("send a file to the partner with the new certificate"):
            sample = folder / "orders.edi"
            sample.write_bytes(b"UNA:+.? 'UNB+UNOA:1+A+B+260101:1200+1'UNZ+0+1'\r\n")
            ours.run("send", theirs.code, str(sample), "--as", "ORDERS", "--wait")
        with report.step("a day behind the end of the old ones: they are erased, the new ones are in use"):
            clock.days_left(-1)
            wait_for("the end of the old ones", lambda: all(former(ours, name) is None for name in first))
        report.note(ours, -1, "two years later")
        for station in (ours, theirs):
            station.stop()


def founded(folder: Path, clock: Clock, stack: ExitStack) -> tuple[Station, Station, Authority]:
    """Two stations that run under the clock, and the authority that both trust. Theirs has a certificate, ours none yet."""
    program = (sys.executable, str(TOOLS / "timelapse.py"))
    surroundings = {clockfile.VARIABLE: str(clock.path)}
    ours = Station(folder / "alpha", "O0013000001ALPHA", "alpha.example", program=program, surroundings=surroundings)
    theirs = Station(folder / "beta", "O0013000002BETA", "beta.example", program=program, surroundings=surroundings)
    authority = Authority(clock.begin, 10 * 365)
    for station in (ours, theirs):
        station.run(
            *("init", "--code", station.code, "--name", station.host, "--host", station.host),
            *("--listen", "127.0.0.1", "--tls-port", "0"),
        )
        stack.callback(station.kill)
        station.start()
        # What init has made is of today, and nobody has it yet.
        own = station.ask("cert", "list")["certificates"][0]["fingerprint"]
        station.run("cert", "remove", own, "--yes")
        trust(station, authority)
    renew(theirs, authority, "trusted", clock.begin)
    return ours, theirs, authority


def define(station: Station, authority: Authority, profile: Path) -> None:
    """What an administrator writes into the home folder."""
    write(station.home / "authority.pem", authority.certificate.public_bytes(Encoding.PEM))
    write(station.home / "authority.key", authority.key_pem)
    write(station.home / "renewal" / "profiles" / profile.name, profile.read_bytes())
    write(station.home / "renewal" / "sets.toml", DEFINITIONS.encode())


def write(path: Path, content: bytes) -> None:
    """For the eyes of the owner."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def enrol(station: Station, clock: Clock) -> None:
    """Let the stand-in know the pharmacy, and fetch its first certificate with a TAN, as its letter would bring it."""
    login = {"login": "PHARMACY-1", "user": "MACHINE1"}
    password = "Two-Years-In-A-Minute-1"  # noqa: S105 - of the stand-in
    tell(clock.control, "/users", {**login, "password": password, "certificate": False})
    tan = tell(clock.control, "/users/tan", login)["tan"]
    station.run("renew", "secret", PHARMACY, "password", "--stdin", said=f"{password}\n")
    station.run("renew", "run", PHARMACY, "--tan-stdin", said=f"{tan}\n")


def standing(station: Station, name: str) -> Any:
    return station.ask("renew", "status", name)


def current(station: Station, name: str) -> Any:
    return (standing(station, name)["current"] or {}).get("fingerprint")


def former(station: Station, name: str) -> Any:
    return (standing(station, name)["former"] or {}).get("fingerprint")


def succeeded(station: Station, name: str, first: dict[str, Any]) -> bool:
    return current(station, name) != first[name]


def told(station: Station, name: str) -> bool:
    return {each["state"] for each in standing(station, name)["consumers"]} == {"done"}


def kept(station: Station, first: dict[str, Any]) -> None:
    for name, fingerprint in first.items():
        if former(station, name) != fingerprint:
            raise FailedError(f"the old credential of {name} is not kept")


def look_at_files(station: Station) -> None:
    """What the pharmacy's software finds: a container that opens with the passphrase beside it, and that it was told."""
    folder = station.home / "exported" / "pharmacy-1" / "current"
    passphrase = (folder / "credential.passphrase").read_text("ascii").strip()
    _, certificate, _ = pkcs12.load_key_and_certificates((folder / "credential.p12").read_bytes(), passphrase.encode())
    serial = standing(station, PHARMACY)["current"]["serial"]
    if certificate is None or f"{certificate.serial_number:x}" != serial:
        raise FailedError("the exported certificate is not the one in use")
    if (station.home / "hook.log").read_text("ascii").splitlines() != [f"activated {PHARMACY}"] * 2:
        raise FailedError("the program was not told twice")
