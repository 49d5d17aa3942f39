"""The commands of docs/credentials.rst and docs/nmvs.rst, as they stand there, with a real daemon.

The first set, a plugin of one's own, and an NMVS practised with the stand-in. Only its address and the folder are replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""Seconds after which what should have happened has not."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="the pages use OpenSSL and curl"),
]


def section(heading: str, page: str = "credentials") -> list[str]:
    """The lines of a section of a page."""
    lines = (ROOT / "docs" / f"{page}.rst").read_text("utf-8").splitlines()
    begin = lines.index(heading) + 2
    ends = (at for at in range(begin, len(lines) - 1) if re.fullmatch("-{4,}", lines[at + 1]) and lines[at])
    return lines[begin : next(ends, len(lines))]


def commands(heading: str, page: str = "credentials") -> list[str]:
    """The commands of a section, each with the lines that it is given behind ``>``."""
    found: list[str] = []
    for line in section(heading, page):
        if line.startswith("    $ "):
            found.append(line.removeprefix("    $ "))
        elif line.startswith("    > "):
            found[-1] += "\n" + line.removeprefix("    > ")
    return found


def files(heading: str) -> Mapping[str, str]:
    """The code blocks of a section that name their file in their first line."""
    text = "\n".join(section(heading))
    blocks = re.findall(r"\.\. code-block:: \w+\n\n((?:    .*\n|\n)+)", text + "\n")
    plain = ["\n".join(line[4:] for line in block.splitlines()) + "\n" for block in blocks]
    return {match[1]: block for block in plain if (match := re.match(r"# (\S+\.\w+)\n", block))}


@dataclass
class House:
    """A station in a folder of its own."""

    folder: Path
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        extra = str(self.folder / "packages")
        return {**os.environ, "OFTP2D_HOME": str(self.folder / "home"), "PATH": path, "PYTHONPATH": extra}

    def say(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.daemon = subprocess.Popen(["oftp2d", "run"], env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while subprocess.run(["oftp2d", "status"], env=self.environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGINT)
            assert self.daemon.wait(PATIENCE) == 0
            self.daemon = None


@pytest.fixture
def house() -> Iterator[House]:
    # The path of a UNIX socket must be short.
    made = House(Path(tempfile.mkdtemp(prefix="oftp2d-")))
    try:
        made.say('oftp2d init --code O0013000001ACME --name "Acme Ltd" --listen 127.0.0.1 --tls-port 0')
        made.start()
        yield made
        made.stop()
    finally:
        if made.daemon is not None:
            made.daemon.kill()
            made.daemon.wait()
        shutil.rmtree(made.folder, ignore_errors=True)


def test_the_first_set_of_the_page_is_there_in_its_commands(house: House) -> None:
    *begin, listing = commands("A first set in five minutes")
    for command in begin:
        house.say(command)
    assert listing.startswith("ls ")
    assert house.say(listing).split() == ["credential.p12", "credential.passphrase"]
    for command in commands("The definition"):
        house.say(command)
    for command in commands("By hand"):
        house.say(command)
    assert "FAULT" not in house.say("oftp2d check")


def test_the_plugin_of_the_page_runs(house: House) -> None:
    heading = "A plugin of your own"
    for name, text in files(heading).items():
        path = house.folder / "our-source" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    install, *rest = commands(heading)
    assert install == "pip install ./our-source"
    pip = f"{sys.executable} -m pip install --quiet --no-deps --no-build-isolation --target packages ./our-source"
    house.say(pip)
    for command in rest:
        assert "our-source" in house.say(command)
    house.stop()
    definition = house.folder / "home" / "renewal" / "ours.toml"
    definition.parent.mkdir()
    definition.write_text('[[set]]\nname = "ours"\nplugin = "our-source"\n[set.our-source]\nfolder = "in"\n')
    house.start()
    assert "our-source" in house.say("oftp2d renew plan && oftp2d renew status")
    done = subprocess.run(
        ["oftp2d", "renew", "run", "ours"], env=house.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "nobody has put it there yet" in done.stdout) == (6, True), done.stdout + done.stderr


def test_an_nmvs_is_practised_with_the_stand_in(house: House) -> None:
    serve, *rest = commands("Practising with the stand-in", "nmvs")
    practice = str(house.folder / "practice")
    program = [sys.executable, str(ROOT / serve.split()[0]), practice]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=house.environment) as standin:
        try:
            assert standin.stdout is not None
            control = json.loads(standin.stdout.readline())["control"]
            said = [house.say(each.replace("~/practice", practice).replace("CONTROL", control)) for each in rest]
            assert "exit code 6" in said[-2]
            assert "NMVS_FE_PKI_07" in said[-1]
            assert "Secret-123" not in "".join(said)
        finally:
            standin.kill()
