"""The dissector on a real session of two daemons, captured on the loopback interface while it runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oftp2 import buffers
from oftp2d.config import SessionTerms
from oftp2d.ledger import TransferState, Transport
from tests.stations.house import House, noise, wait_for
from tests.wireshark.capture import seen, tshark


@pytest.fixture
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-"))
    opened = House(folder)
    try:
        yield opened
    finally:
        opened.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_captured_session_is_seen_command_by_command(house: House, tmp_path: Path) -> None:
    ours, theirs = house.pair(transport=Transport.TCP)
    house.start()
    path, log = tmp_path / "live.pcapng", tmp_path / "log"
    watched = f"tcp port {theirs.tcp_port}"
    with log.open("wb") as told:
        capture = subprocess.Popen([tshark(), "-i", "lo", "-f", watched, "-w", str(path)], stderr=told)
    try:
        wait_for("tshark", lambda: capture.poll() is not None or "Capturing on" in log.read_text())
        if capture.poll() is not None:
            pytest.skip(f"capturing on the loopback interface is not permitted: {log.read_text().strip()[-200:]}")
        wait_for("the capture to begin", path.exists)
        sent = ours.send(theirs.code, noise(500_000), "ORDERS")
        ours.reaches(sent, TransferState.ACKNOWLEDGED)
        ours.has_no_session()
        # What is under way between kernel and tshark is to be seen as well.
        wait_for("the end of the session", lambda: "ESID" in str(commands(path, theirs.tcp_port)))
    finally:
        capture.send_signal(signal.SIGINT)
        capture.wait(20)
    found = commands(path, theirs.tcp_port)
    assert found[:4] == ["SSRM", "SSID", "SSID", "SFID"]
    assert found.count("DATA") == -(-500_000 // buffers.capacity(SessionTerms().buffer_size))
    assert [each for each in found if each not in {"DATA", "CDT"}][4:7] == ["SFPA", "EFID", "EFPA"]
    assert found[-1] == "ESID"


def commands(path: Path, port: int) -> list[str]:
    rows = seen(path, "oftp2.command", options=("-d", f"tcp.port=={port},oftp2"), growing=True)
    return [each for row in rows for each in row[0].split(",") if each]
