"""The README's walk, command by command as it stands there, with two real daemons: Acme and its partner play it both.

The commands come out of README.rst. Only what no test can have is replaced: host names, the id of a file, the ports; and
what makes a virtual environment is left out, for the test runs in one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.stations.house import free_port

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""Seconds after which what should have happened has not."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="the README plays the authority with OpenSSL"),
]


def walk() -> list[tuple[str, list[str]]]:
    """The steps of the README: the heading of each, and its commands."""
    steps: list[tuple[str, list[str]]] = [("", [])]
    lines = (ROOT / "README.rst").read_text("utf-8").splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line and re.fullmatch(r"([-~=])\1+", below):
            steps.append((line, []))
        elif line.startswith("    $ "):
            steps[-1][1].append(line.removeprefix("    $ "))
    return [step for step in steps if step[1]]


def commands(heading: str) -> list[str]:
    """The commands of the step whose heading holds these words."""
    return next(found for name, found in walk() if heading in name)


@dataclass
class Company:
    """One of the two, with its own home, as the README has it."""

    folder: Path
    partner: bool
    passwords: tuple[str, str]
    port: int
    daemon: subprocess.Popen[bytes] | None = None
    replaced: dict[str, str] = field(default_factory=dict)

    def literal(self, command: str) -> str:
        """The command as this company says it: the partner's is the mirror image of Acme's."""
        if self.partner:
            mirror = {"O0013000001ACME": "O0013000002PARTNER", "acme": "partner", "Acme": "Partner"}
            mirror |= {"O0013000002PARTNER": "O0013000001ACME", "oftp.partner.example": "oftp.acme.example"}
            command = re.sub("|".join(sorted(mirror, key=len, reverse=True)), lambda match: mirror[match[0]], command)
        for words, instead in self.replaced.items():
            command = command.replace(words, instead)
        return command

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.folder),
            "OFTP2D_HOME": str(self.folder / ("partner" if self.partner else "acme")),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OFTP2D_PASSWORD_OURS": self.passwords[0],
            "OFTP2D_PASSWORD_THEIRS": self.passwords[1],
        }

    def say(self, command: str) -> str:
        """Say it in a shell, in the folder of the walk; what it answers."""
        command = self.literal(command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self) -> None:
        [command] = commands("3. Run it")[:1]
        assert command == "oftp2d run"
        with (self.folder / f"{self.port}.log").open("wb") as log:
            self.daemon = subprocess.Popen(command.split(), env=self.environment(), stdout=log, stderr=log)
        wait_for(self.answers, f"the daemon: {(self.folder / f'{self.port}.log').read_text()}")

    def answers(self) -> bool:
        asked = subprocess.run(["oftp2d", "status"], env=self.environment(), capture_output=True, check=False)
        return asked.returncode == 0

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGINT)
            assert self.daemon.wait(PATIENCE) == 0


def wait_for(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.1)


@pytest.fixture
def companies() -> Iterator[tuple[Company, Company]]:
    # The path of a UNIX socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-"))
    acme = Company(folder, partner=False, passwords=("ACMEPW", "PARTNER1"), port=free_port())
    partner = Company(folder, partner=True, passwords=("PARTNER1", "ACMEPW"), port=free_port())
    for one, other in ((acme, partner), (partner, acme)):
        # What "Alone on one machine" says: other ports, and the other one's address.
        name = "oftp.acme.example" if one.partner else "oftp.partner.example"
        one.replaced["--csr"] = f"--csr --listen 127.0.0.1 --tls-port {one.port}"
        one.replaced[f"--host {name} --acx"] = f"--host 127.0.0.1 --port {other.port} --acx"
    try:
        yield acme, partner
    finally:
        for company in (acme, partner):
            if company.daemon is not None:
                company.daemon.kill()
                company.daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_walk_is_complete() -> None:
    assert [name.split(". ")[0] for name, _ in walk()] == ["1", "2", "3", "4", "5", "6", "7", "Alone on one machine"]
    assert commands("1. Install")[-1] == "pip install ."


def test_the_walk_of_the_readme_leads_to_a_file_acknowledged(companies: tuple[Company, Company]) -> None:
    acme, partner = companies
    authority, issue = commands("Alone on one machine")
    acme.say(authority)
    for company in companies:
        export, *house = commands("2. Make a station")
        assert export == "export OFTP2D_HOME=~/acme"
        for command in house:
            company.say(command)
        company.run()
        company.say(commands("3. Run it")[-1])
        company.say(issue)
        for command in commands("4. Get a certificate"):
            company.say(command)
    for company in companies:
        *enter, _ = commands("5. Enter")
        for command in enter:
            company.say(command)
    for company in companies:
        company.say(commands("5. Enter")[-1])
    request, listing, audit = commands("6. Exchange")
    acme.say(request)
    wait_for(lambda: acme.say(listing).count("accepted") == 2, "both certificates to be accepted")
    wait_for(lambda: "authentication latched" in acme.say(audit), "session authentication to switch itself on")
    send, inbox, get = commands("7. Send and receive")
    (acme.folder / "orders.edi").write_bytes(b"UNB+UNOA:1+ACME+PARTNER+260101:1200+1'UNZ+0+1'")
    assert "acknowledged" in acme.say(send)
    listed = partner.say(inbox)
    assert "ORDERS.D96A" in listed
    partner.replaced["get ID"] = f"get {listed.splitlines()[-1].split()[0]}"
    partner.say(get)
    assert (acme.folder / "received.edi").read_bytes() == (acme.folder / "orders.edi").read_bytes()
    for company in companies:
        company.stop()
