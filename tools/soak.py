"""A soak: the certificate of a station is renewed once for many partners while secured files flow both ways.

Every file and every receipt is looked at from both ends afterwards, in the ledgers of both: by whom it was signed, and whether
its receiver had that certificate at the time. Nothing may be lost, refused, unsigned, or signed with what was not known.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import crowd
from crowd import Credential, Member
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from stations import PATIENCE, Authority, FailedError, Station, wait_for

from oftp2d.client import AdminClient
from oftp2d.config import socket_path
from oftp2d.ledger import Direction, ExchangeState, Holder, Kind, Ledger, Transfer, TransferState

OURS = "O0013000001SOAK"
HOST = "soak.example"
SMALLEST, LARGEST = 500, 20_000
"""Octets of the files."""
ENOUGH = 100_000
UNFINISHED = ("securing", "queued", "sending", "sent", "receiving", "interrupted", "received")

FAULTS = ("lost", "refused", "unsigned", "unknown_certificate", "shown_too_early")
"""What there must be none of."""


@dataclass
class Sent:
    """A file that somebody was asked to send."""

    sender: str
    receiver: str
    sha256: str


@dataclass
class Soak:
    """What one run knows of itself."""

    folder: Path
    ours: Member
    partners: list[Member]
    new: Credential
    station: Station
    sent: dict[str, Sent] = field(default_factory=dict)
    """By dataset name, of which each is used once."""
    shown: list[tuple[datetime, str]] = field(default_factory=list)
    """Which certificate our listener showed, and when."""
    rounds: int = 0

    @property
    def everybody(self) -> list[Member]:
        return [self.ours, *self.partners]


def soak(partners: int, *, rounds: int) -> dict[str, Any]:
    """Run it with so many partners: rounds of files before, as long as the renewal takes, and behind it; the report."""
    begun = time.monotonic()
    with _furnished(partners) as run, _running(run), _looking(run):
        for _ in range(rounds):
            _send_round(run)
        renewal = time.monotonic()
        _import_new(run)
        while not _finished(run) or run.rounds < 2 * rounds:
            _send_round(run)
            if time.monotonic() - renewal > PATIENCE:
                raise FailedError(f"the renewal did not end: {run.station.run('exchange', 'renewal')}")
        seconds = time.monotonic() - renewal
        for _ in range(rounds):
            _send_round(run)
        wait_for("all files to be acknowledged", lambda: _settled(run))
        assert run.station.daemon is not None
        peak = _peak(run.station.daemon.pid)
        return {"seconds": time.monotonic() - begun, "renewal_seconds": seconds, "peak_mib": peak} | _examined(run)


# --- the stations ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _furnished(count: int) -> Iterator[Soak]:
    """The homes of a station and its partners: every fifth cannot be called, and takes what it gets when it calls."""
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-soak-"))
    authority = Authority()
    ours = Member(folder / "ours", OURS, crowd.free_port(), crowd.issue(authority, OURS, HOST))
    codes = [f"O0013000002S{number:03}" for number in range(count)]
    partners = [
        Member(
            folder / f"partner-{code}", code, crowd.free_port(), crowd.issue(authority, code, f"{code.lower()}.example")
        )
        for code in codes
    ]
    called = [each for number, each in enumerate(partners) if number % 5]
    crowd.found(ours, authority, partners, reachable=called)
    for each in partners:
        crowd.found(each, authority, [ours], reachable=[ours])
    new = crowd.issue(authority, OURS, HOST)
    try:
        yield Soak(folder, ours, partners, new, Station(ours.home, OURS, HOST))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(run: Soak) -> Iterator[None]:
    """Our daemon, and the partners in one process beside it."""
    with (run.folder / "partners.log").open("ab") as log:
        command = [sys.executable, str(Path(__file__).with_name("crowd.py")), str(run.folder)]
        crowded = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert crowded.stdout is not None
        if crowded.stdout.readline().strip() != crowd.READY:
            raise FailedError(f"the partners do not run: {(run.folder / 'partners.log').read_text()[-1000:]}")
        run.station.start()
        yield
    finally:
        run.station.kill()
        crowded.kill()
        crowded.wait()


@contextlib.contextmanager
def _looking(run: Soak) -> Iterator[None]:
    """Look all the time which certificate a caller is shown."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            with contextlib.suppress(OSError):
                pem = ssl.get_server_certificate(("127.0.0.1", run.ours.port), timeout=5)
                digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
                run.shown.append((datetime.now(UTC), digest))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def _import_new(run: Soak) -> None:
    """As an administrator does it; what follows is offered to all partners by itself."""
    path = run.folder / "new.pem"
    key = run.new.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(run.new.certificate.public_bytes(Encoding.PEM) + key)
    run.station.run("cert", "import", str(path), "--own", "--alias", "new")
    if not run.station.ask("exchange", "renewals")["renewals"]:
        raise FailedError("the import began no renewal")


def _finished(run: Soak) -> bool:
    with AdminClient(socket_path(run.ours.home)) as client:
        return bool(client.get("/v1/renewals/1")["state"] == "finished")


def _send_round(run: Soak) -> None:
    """One file to every partner and one from each."""
    run.rounds += 1
    with AdminClient(socket_path(run.ours.home)) as client:
        for number, partner in enumerate(run.partners):
            _send(run, client, run.ours.code, partner.code, f"OUT.{run.rounds:04}.{number:03}")
    for number, partner in enumerate(run.partners):
        with AdminClient(socket_path(partner.home)) as client:
            _send(run, client, partner.code, run.ours.code, f"IN.{run.rounds:04}.{number:03}")


def _send(run: Soak, client: AdminClient, sender: str, receiver: str, dataset: str) -> None:
    content = os.urandom(SMALLEST + len(run.sent) * 997 % (LARGEST - SMALLEST))
    client.upload(
        "/v1/transfers", io.BytesIO(content), len(content), lambda _moved: None, partner=receiver, dataset=dataset
    )
    run.sent[dataset] = Sent(sender, receiver, hashlib.sha256(content).hexdigest())


def _settled(run: Soak) -> bool:
    """Whether nothing is on its way any more, in either direction."""
    for member in run.everybody:
        with AdminClient(socket_path(member.home)) as client:
            status = client.get("/v1/status")
        if status["end_responses_owed"] or any(status["transfers"].get(state) for state in UNFINISHED):
            return False
    return True


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# --- looking at it from both ends ------------------------------------------------------------------------------------


@dataclass
class Found:
    """What was found so far."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    switched: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    """What was signed with a certificate that its receiver did not know, in words."""
    by: dict[str, int] = field(
        default_factory=lambda: {
            "files_by_old": 0,
            "files_by_new": 0,
            "receipts_by_old": 0,
            "receipts_by_new": 0,
            "receipts_of_partners": 0,
        }
    )


def _examined(run: Soak) -> dict[str, Any]:
    found = Found()
    old, new = (_fingerprint(each) for each in (run.ours.credential, run.new))
    with contextlib.ExitStack() as open_:
        ledgers = {each.code: open_.enter_context(closing(each.ledger())) for each in run.everybody}
        ours = ledgers[run.ours.code]
        for member in run.everybody:
            found.counts["refused"] += _refused(ledgers[member.code])
        for dataset, sent in run.sent.items():
            found.counts["lost"] += not _arrived(run, ledgers[sent.receiver], dataset, sent)
        for partner in run.partners:
            _examine_partner(found, ours, ledgers[partner.code], partner, (old, new))
        renewal = ours.renewals.get(1)
        confirmed = sum(part.confirmation is not None for part in ours.renewals.parts(renewal))
    if renewal.ended_at is None:
        raise FailedError("the renewal has no end")
    ended_at = renewal.ended_at
    early = [at for at, digest in run.shown if digest != old and at < ended_at]
    late = [at for at, digest in run.shown if digest == new]
    found.counts["shown_too_early"] = len(early)
    files_out = sum(each.sender == run.ours.code for each in run.sent.values())
    return {
        "partners": len(run.partners),
        "confirmed": confirmed,
        "switched": len(found.switched),
        "rounds": run.rounds,
        "files_out": files_out,
        "files_in": len(run.sent) - files_out,
        **found.by,
        "callers_shown_new": bool(late),
        **found.counts,
        "unknown_certificate": len(found.unknown),
        "unknown": found.unknown[:20],
    }


def _refused(ledger: Ledger) -> int:
    """Files and messages that were refused, failed or given up, of either direction."""
    bad = {TransferState.REFUSED, TransferState.FAILED, TransferState.CANCELLED}
    return sum(each.state in bad for each in ledger.transfers.list(limit=ENOUGH)) + sum(
        each.state is ExchangeState.REFUSED for each in ledger.exchanges.list(limit=ENOUGH)
    )


def _arrived(run: Soak, ledger: Ledger, dataset: str, sent: Sent) -> bool:
    """Whether the receiver has the file once, with this content, on its disk."""
    home = next(each.home for each in run.everybody if each.code == sent.receiver)
    found = [each for each in _files(ledger, Direction.IN) if each.dataset == dataset]
    if [each.state for each in found] != [TransferState.DELIVERED]:
        return False
    inbox = list((home / "spool" / "inbox").glob(f"{found[0].id}*"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in inbox] == [sent.sha256]


def _examine_partner(found: Found, ours: Ledger, theirs: Ledger, partner: Member, prints: tuple[str, str]) -> None:
    old, new = prints
    known = {each.fingerprint: each.added_at for each in theirs.certificates.list(Holder.PARTNER, limit=ENOUGH)}
    ourselves = ours.partners.by_code(partner.code)
    assert ourselves is not None
    confirmed = {each.fingerprint: each.confirmed_at for each in ours.certificates.confirmations(ourselves.id)}

    def judge(signers: tuple[str, ...], at: datetime) -> None:
        """A file or receipt of ours that the partner received at that time."""
        found.counts["unsigned"] += not signers
        found.unknown += [
            f"{partner.code} received at {at} what {each[:16]} signed, which it knew {known.get(each, 'never')}"
            for each in signers
            if each not in known or known[each] > at
        ]

    files = _files(theirs, Direction.IN)
    for each in files:
        judge(each.signers, each.created_at)
        found.by["files_by_new"] += each.signers == (new,)
        found.by["files_by_old"] += each.signers == (old,)
    receipts = []
    for each in _files(theirs, Direction.OUT):
        evidence = theirs.evidence.get(each.id)
        if evidence is None:
            found.counts["unsigned"] += 1
            continue
        signer = hashlib.sha256(evidence.certificate).hexdigest()
        judge((signer,), evidence.received_at)
        receipts.append(signer)
        found.by["receipts_by_new"] += signer == new
        found.by["receipts_by_old"] += signer == old
    for each in _files(ours, Direction.OUT, ourselves.id):
        theirs_for_it = ours.evidence.get(each.id)
        found.counts["unsigned"] += theirs_for_it is None
        found.by["receipts_of_partners"] += theirs_for_it is not None
        # What was signed with the new one was sent behind the partner's word for it.
        if new in each.signers and not (
            new in confirmed and each.sent_at is not None and confirmed[new] <= each.sent_at
        ):
            said = confirmed.get(new, "never")
            found.unknown.append(f"{each.dataset} was sent at {each.sent_at}, confirmed by {partner.code}: {said}")
    if files and files[-1].signers == (new,) and receipts[-1:] == [new]:
        found.switched.add(partner.code)


def _files(ledger: Ledger, direction: Direction, partner_id: int | None = None) -> list[Transfer]:
    """Oldest first."""
    found = ledger.transfers.list(direction=direction, kind=Kind.FILE, partner_id=partner_id, limit=ENOUGH)
    return list(reversed(found))


def _fingerprint(credential: Credential) -> str:
    return credential.certificate.fingerprint(hashes.SHA256()).hex()


if __name__ == "__main__":
    import json

    print(json.dumps(soak(int(sys.argv[1]), rounds=int(sys.argv[2])), indent=1))
