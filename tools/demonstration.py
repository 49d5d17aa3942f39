"""What tools/demo does: two stations, two daemon processes, one certification authority, and files both ways.

Each station knows of the other its address, code, passwords and the identification data of its certificate: the common name and
who issued it. One requests certificates; both end up with both, and session authentication switches itself on. Then the files go
both ways at once and are compared. Then one goes signed, compressed and encrypted; its receipt is signed, exported as evidence
and verified. At last one of the two renews its certificate: it offers it to its partner by itself, and signs with it from the
partner's EERP on. Everything is done with the command line that people use.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import twoyears
from cryptography.hazmat.primitives.serialization import Encoding
from report import Report, carry_out
from stations import (
    PATIENCE,
    SECURED,
    Authority,
    FailedError,
    Station,
    acquainted,
    certify,
    introduce,
    prepare,
    renew,
    wait_for,
)

MEBIBYTE = 1024 * 1024
SECURED_NUMBER, RENEWED_NUMBER = 9998, 9999
"""Of the files that are sent then."""


class Exchanged(Report):
    """What the two stations have exchanged."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self.files: list[dict[str, Any]] = []
        self.evidence: dict[str, Any] | None = None
        """The verification of the evidence file, once there is one."""
        self.renewal: dict[str, Any] | None = None
        """How the renewed certificate was taken up, once it was."""

    @property
    def result(self) -> dict[str, Any]:
        usual = super().result
        sent = bool(self.files) and all(file["acknowledged"] for file in self.files)
        ok = usual["ok"] and sent and self.evidence is not None and self.renewal is not None
        return {**usual, "ok": ok, "files": self.files, "evidence": self.evidence, "renewal": self.renewal}


@dataclass(frozen=True)
class File:
    """A file to send, and with which options."""

    path: Path
    options: tuple[str, ...] = ()


def make_files(folder: Path) -> list[File]:
    """Files of kinds that hurt: empty, tiny, compressible, 64 MiB of noise, and records of any length."""
    folder.mkdir()
    noise = random.Random(5024)  # noqa: S311 - repeatable content, no secret
    contents = {
        "empty.dat": b"",
        "orders.edi": b"UNA:+.? 'UNB+UNOA:1+A+B+260101:1200+1'UNZ+0+1'\r\n",
        "blanks.txt": b" " * 100_000,
        "drawing.bin": noise.randbytes(3 * MEBIBYTE + 17),
        "archive-64-mib.bin": noise.randbytes(64 * MEBIBYTE),
    }
    lengths = [noise.choice((0, 1, 80, 4_000, 65_535)) for _ in range(500)]
    contents["records.dat"] = b"".join(length.to_bytes(2, "big") + noise.randbytes(length) for length in lengths)
    options = {"records.dat": ("--format", "V"), "blanks.txt": ("--format", "F", "--record-length", "80")}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [File(folder / name, options.get(name, ())) for name in contents]


def transfer(sender: Station, receiver: Station, file: File, number: int) -> dict[str, Any]:
    """Send one file, wait for its receipt, and compare what arrived with it."""
    path = file.path
    begun = time.monotonic()
    dataset = f"DEMO{number:04}"
    sent = sender.ask(
        "send", receiver.code, str(path), "--as", dataset, *file.options, "--wait", "--timeout", str(PATIENCE)
    )
    seconds = round(time.monotonic() - begun, 3)
    inbox = receiver.ask("inbox", "list", "--limit", "1000")["files"]
    arrived = [each for each in inbox if each["dataset"] == dataset]
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


def demonstrate(report: Exchanged, folder: Path, given: list[Path]) -> None:
    with contextlib.ExitStack() as stack:
        with report.step("make two stations"):
            ours, theirs, authority = prepare(folder)
        for station in (ours, theirs):
            with report.step(f"start the daemon of {station.host}"):
                stack.callback(station.kill)
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
        files = [File(path) for path in given] or make_files(folder / "files")
        with report.step(f"send {len(files)} files each way, acknowledged and compared"):
            send_all(report, ours, theirs, files)
        with report.step("agree on cipher suite 06, signed, compressed and encrypted files, and signed receipts"):
            for station, partner in ((ours, theirs), (theirs, ours)):
                station.run("partner", "change", partner.code, *SECURED)
        largest = max(files, key=lambda file: file.path.stat().st_size)
        with report.step("send a file signed, compressed and encrypted, with a signed receipt"):
            send_secured(report, ours, theirs, largest, SECURED_NUMBER)
        with report.step("export the receipt as evidence, and verify it without any station"):
            report.evidence = prove(report, ours, authority, folder)
        with report.step(
            f"renew the certificate of {ours.host}: it offers the new one to its partner, and is confirmed"
        ):
            report.renewal = renewed(report, ours, authority)
        with report.step("send a file signed with the new certificate, encrypted, with a signed receipt"):
            send_secured(report, ours, theirs, files[0], RENEWED_NUMBER)
            signers = sent(ours, RENEWED_NUMBER)["signers"]
            if signers != [report.renewal["certificate"]["fingerprint"]]:
                raise FailedError(f"the file is not signed with the new certificate: {signers}")
        for station in (ours, theirs):
            with report.step(f"stop the daemon of {station.host}"):
                station.stop()


def send_secured(report: Exchanged, ours: Station, theirs: Station, file: File, number: int) -> None:
    """And look at what was agreed: that it was secured, that the session was authenticated, that the receipt is signed."""
    done = transfer(ours, theirs, file, number)
    report.files.append(done)
    report.say(
        f"       {done['seconds']:8.2f} s  {ours.host} -> {theirs.host}: {done['name']}, {done['octets']} octets, secured"
    )
    for station, partner in ((ours, theirs), (theirs, ours)):
        if station.ask("partner", "show", partner.code)["authentication"] != "on":
            raise FailedError(f"session authentication with {partner.code} is not on")


def prove(report: Exchanged, ours: Station, authority: Authority, folder: Path) -> dict[str, Any]:
    """The evidence file as its verification tells it, and what it is about."""
    shown = sent(ours, SECURED_NUMBER)
    evidence, anchor = folder / "evidence.pem", folder / "authority.pem"
    anchor.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    ours.run("evidence", "export", shown["id"], "-o", str(evidence))
    verified = ours.ask("evidence", "verify", str(evidence), "--trust", str(anchor))
    if not verified["ok"]:
        raise FailedError(f"the evidence does not hold: {verified}")
    for step in verified["steps"]:
        report.say(f"       {step['subject']}: {step['what']}")
    return {"transfer": shown, "verification": verified}


def renewed(report: Exchanged, ours: Station, authority: Authority) -> dict[str, Any]:
    """The renewal that the import of the new certificate began, once it has ended."""
    fingerprint = renew(ours, authority, "renewed")
    wait_for("the end of the renewal", lambda: ours.ask("exchange", "renewal")["state"] == "finished")
    shown: dict[str, Any] = ours.ask("exchange", "renewal")
    if shown["certificate"]["fingerprint"] != fingerprint:
        raise FailedError(f"the renewal is of another certificate: {shown}")
    report.say(f"       {ours.run('exchange', 'renewal').strip()}".replace("\n", "\n       "))
    return shown


def sent(sender: Station, number: int) -> dict[str, Any]:
    """All that the sender knows of a file it has sent."""
    listed = sender.ask("transfer", "list", "--direction", "out", "--limit", "1000")["transfers"]
    found = next(each for each in listed if each["dataset"] == f"DEMO{number:04}")
    shown: dict[str, Any] = sender.ask("transfer", "show", found["id"])
    return shown


def send_all(report: Exchanged, ours: Station, theirs: Station, files: list[File]) -> None:
    """Both ways at once, one file at a time each way."""

    def way(sender: Station, receiver: Station) -> None:
        for number, file in enumerate(files, 1):
            done = transfer(sender, receiver, file, number)
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
        description="Two stations get to know each other by identification data alone, and exchange files. With --renewal: two"
        " years in the life of their credentials, in about a minute.",
        epilog="Exit code 0 only if everything happened. The last line printed is the result as one JSON object.",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="files to exchange; by default it makes some"
    )
    parser.add_argument(
        "--renewal",
        action="store_true",
        help="show how credentials are renewed instead: one of an own authority, one of a stand-in for an NMVS",
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
    if arguments.renewal:
        if arguments.files:
            parser.error("--renewal takes no files")
        lived = twoyears.Lived(quiet=arguments.json)
        return carry_out(lived, lambda folder: twoyears.demonstrate(lived, folder), arguments.keep)
    report = Exchanged(quiet=arguments.json)
    files = [path.resolve() for path in arguments.files]
    return carry_out(report, lambda folder: demonstrate(report, folder, files), arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
