"""tools/nmvs-standin as a program: what it prints, its control port, and how it ends."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from tests.renewal import wire

PROGRAM = Path(__file__).parents[2] / "tools" / "standin.py"


class Running:
    """The program, and its control port."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), "--now", "2026-03-01T12:00:00Z"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.told = json.loads(self.process.stdout.readline())
        self.client = httpx.Client(base_url=self.told["control"], trust_env=False, timeout=30)

    def ask(self, path: str, method: str = "GET", **body: Any) -> Any:
        answer = self.client.request(method, path, json=body or None)
        answer.raise_for_status()
        return answer.json()

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it wrote to its error output."""
        self.client.close()
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path / "standin")
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.end()


def test_a_site_gets_a_certificate_and_its_successor_by_what_the_program_tells(
    running: Running, tmp_path: Path
) -> None:
    name = {"login": "PHARMACY-1", "user": "machine"}
    files = running.ask("/users", "POST", **name, password="Correct-horse-1")
    secret = Path(files["passphrase"]).read_bytes()
    key, certificate, _ = pkcs12.load_key_and_certificates(Path(files["container"]).read_bytes(), secret)
    assert key
    assert certificate
    pem = tmp_path / "client.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(cafile=running.told["ca_bundle"])
    context.load_cert_chain(pem)

    def renew() -> bytes:
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.post(running.told["renew"], content=wire.g615()).content

    assert b"NMVS_FE_PKI_07" in renew()
    assert running.ask("/clock", "POST", days=670) == {"now": "2027-12-31T12:00:00Z"}
    assert b"NMVS_SUCCESS" in renew()

    assert len(running.ask("/users/tan", "POST", **name)["tan"]) == 16
    running.ask("/faults", "POST", fault="code", code="NMVS_TI_TO_01", calls=1)
    assert b"NMVS_TI_TO_01" in renew()
    running.ask("/faults", "POST", fault="html")
    assert [each["fault"] for each in running.ask("/faults")["on"]] == ["html"]
    assert running.ask("/faults", "DELETE")["on"] == []
    assert running.ask("/habits", "POST", tan_mode="empty")["tan_mode"] == "empty"
    assert running.ask("/authority", "POST") == {"generation": 2}
    assert b"NMVS_TE_XM_02" in renew()

    (user,) = running.ask("/users")
    assert [each["downloads"] for each in user["certificates"]] == [0, 1]
    assert running.ask("/counters")["requests: G615"] == 4
    seen = running.ask("/requests")
    assert [each["code"] for each in seen] == ["NMVS_FE_PKI_07", "NMVS_SUCCESS", "NMVS_TI_TO_01", "NMVS_TE_XM_02"]
    assert "Correct-horse-1" not in json.dumps(seen)
    assert "Correct-horse-1" not in json.dumps(user)


def test_the_control_port_says_what_it_does_not_understand(running: Running) -> None:
    def asked(path: str, body: Any, **headers: str) -> int:
        return running.client.post(path, json=body, headers=headers).status_code

    assert asked("/clock", {"set": "2026-03-01"}) == 400
    assert asked("/clock", {"set": "1999-03-01T00:00:00Z"}) == 400
    assert asked("/clock", ["a"]) == 400
    assert asked("/users", {"login": "PHARMACY-1"}) == 400
    assert asked("/users", {"login": "../..", "user": "machine", "password": "12345678"}) == 400
    assert asked("/users", {"login": "A", "user": "machine", "password": "12345678", "wheel": True}) == 400
    assert asked("/users/tan", {"login": "A", "user": "B"}) == 400
    assert asked("/faults", {"fault": "earthquake"}) == 400
    assert asked("/faults", {"fault": "code"}) == 400
    assert asked("/habits", {"lead_days": "many"}) == 400
    assert asked("/elsewhere", {}) == 404
    assert asked("/clock", {"days": 1}, Host="rebound.test:80") == 404
    assert running.ask("/clock") == {"now": "2026-03-01T12:00:00Z"}


def test_its_files_are_private_and_its_profile_is_not_verified(running: Running) -> None:
    running.ask("/users", "POST", login="PHARMACY-1", user="machine", password="Correct-horse-1")
    folder = Path(running.told["profile"]).parent
    files = [path for path in folder.rglob("*") if path.is_file()]

    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert "verified = false" in Path(running.told["profile"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal(running: Running, number: int) -> None:
    running.process.send_signal(number)
    # Its standard input is still open here.
    running.process.wait(timeout=30)
    code, err = running.end()

    assert (code, err) == (0, "")


def test_it_ends_when_its_standard_input_ends(running: Running) -> None:
    assert running.process.stdin
    running.process.stdin.close()
    running.process.stdin = None
    code, err = running.end()

    assert (code, err) == (0, "")


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path), "--now", "2026-03-01T12:00:00"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "needs a zone" in done.stderr
