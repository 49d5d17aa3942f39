"""What two sides write as a capture file (pcap) of a TCP connection, and what tshark with the dissector sees in it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from oftp2.values import Role

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = ROOT / "tools" / "oftp2.lua"
PORT: Final = 3305
CALLER_PORT: Final = 40_000

_PCAP: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
"""The head of a file of bare IP packets."""


def tshark() -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which("tshark")
    if found is None:
        pytest.skip("tshark is not installed (Debian: apt-get install tshark)")
    return found


def write(path: Path, written: Iterable[tuple[Role, bytes]], *, segment: int, port: int = PORT) -> None:
    """A capture of a connection; each piece that a side wrote goes in segments of up to so many octets."""
    sent = {Role.INITIATOR: 1, Role.RESPONDER: 1}
    packets = []
    for writer, octets in written:
        reader = Role.RESPONDER if writer is Role.INITIATOR else Role.INITIATOR
        for at in range(0, len(octets), segment):
            piece = octets[at : at + segment]
            packets.append(_packet(writer, piece, sent[writer], sent[reader], port))
            sent[writer] += len(piece)
    records = (struct.pack("<IIII", 0, at, len(packet), len(packet)) + packet for at, packet in enumerate(packets))
    path.write_bytes(_PCAP + b"".join(records))


def _packet(writer: Role, octets: bytes, sequence: int, acknowledged: int, port: int) -> bytes:
    ports = (CALLER_PORT, port) if writer is Role.INITIATOR else (port, CALLER_PORT)
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, 0x18, 0xFFFF, 0, 0) + octets
    addresses = b"\x7f\0\0\1" * 2
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + addresses + tcp


def seen(path: Path, *fields: str, options: Iterable[str] = (), growing: bool = False) -> list[list[str]]:
    """The values of the fields in each packet with OFTP in it; those of one packet joined by commas."""
    chosen = [word for field in fields for word in ("-e", field)]
    shown = _run(path, "-T", "fields", *chosen, "-Y", "oftp2", *options, growing=growing)
    return [line.split("\t") for line in shown.splitlines()]


def tree(path: Path, *options: str) -> str:
    """All that people see of the OFTP in it."""
    return _run(path, "-V", "-O", "oftp2", *options)


def _run(path: Path, *arguments: str, growing: bool = False) -> str:
    command = [tshark(), "-X", f"lua_script:{SCRIPT}", "-n", "-r", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    told = "\n".join(line for line in done.stderr.splitlines() if "superuser" not in line and "Running as" not in line)
    # A file that still grows may end in the middle of a packet.
    assert growing or (done.returncode, told) == (0, ""), told
    return done.stdout
