"""A plugin of somebody else: a package of its own, installed with pip, found by the commands and run by a real daemon."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import pki
from tests.stations.house import ROOT, House, Station, wait_for

pytestmark = pytest.mark.slow

PACKAGE = ROOT / "tests" / "plugins" / "oftp2d-drop"
PASSPHRASE = "opens & closes"

SET = """
[[set]]
name = "site"
plugin = "drop"

[set.drop]
folder = "drop"
passphrase = "env:DROP_PASSPHRASE"

[set.export]
folder = "exported"
form = "pem"
"""


@dataclass
class Environment:
    """An environment of its own, that sees the packages of the running one beside what is installed in it."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        venv.create(self.folder, with_pip=False, symlinks=True)
        (mine,) = self.folder.glob("lib/python*/site-packages")
        # What the running environment has is seen as if it were here; what is installed here is seen by nobody else.
        seen = "".join(f"import site; site.addsitedir({each!r})\n" for each in site.getsitepackages())
        (mine / "running.pth").write_text(seen)

    def pip(self, *arguments: str) -> None:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        command = [sys.executable, "-m", "pip", "--python", self.python, *arguments, *quiet]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, package: Path) -> None:
        """From a copy: building leaves things behind."""
        copied = shutil.copytree(package, self.folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
        self.pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--root-user-action=ignore", str(copied))

    def oftp2d(self, home: Path, *arguments: str, code: int = 0) -> str:
        """What a command prints."""
        environment = {**os.environ, "OFTP2D_HOME": str(home), "PYTHONWARNINGS": "error"}
        command = [self.python, "-m", "oftp2d", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def plugins(self, home: Path) -> dict[str, dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.oftp2d(home, "renew", "plugins", "--json"))["plugins"]
        return {each["name"]: each for each in found}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "environment")
    made.make()
    return made


@pytest.fixture
def station(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    """Not started; in the environment with the plugin."""
    monkeypatch.setenv("DROP_PASSPHRASE", PASSPHRASE)
    # The path of a UNIX socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-"))
    house = House(folder)
    try:
        founded = house.station()
        founded.python = environment.python
        yield founded
    finally:
        house.close()
        scars = house.scars()
        shutil.rmtree(folder, ignore_errors=True)
    assert not scars, scars


def exported(station: Station) -> bytes | None:
    """The certificate that other programs find."""
    found = station.home / "exported" / "current" / "credential.crt"
    return found.read_bytes() if found.exists() else None


def test_a_plugin_that_pip_has_installed_is_found_runs_and_may_be_taken_away_again(
    environment: Environment, station: Station
) -> None:
    assert "drop" not in environment.plugins(station.home)
    environment.install(PACKAGE)
    known = environment.plugins(station.home)
    assert known["drop"] == {
        "name": "drop",
        "summary": "what somebody puts into a folder",
        "package": "oftp2d-drop",
        "version": "1.2",
        "fault": None,
    }
    assert "cannot be loaded (ModuleNotFoundError" in known["spoilt"]["fault"], "it harms no other"
    assert known["local-ca"]["fault"] is None
    assert "# The folder that is looked into." in environment.oftp2d(station.home, "renew", "example", "drop")

    (station.home / "drop").mkdir()
    (station.home / "renewal").mkdir()
    (station.home / "renewal" / "site.toml").write_text(SET)
    station.start()
    assert "there is no site.p12 in the folder" in environment.oftp2d(station.home, "renew", "run", "site", code=6)

    new = pki.make(subject="CN=site.test", issuer=pki.issuing("A"))
    (station.home / "drop" / "site.p12").write_bytes(new.pkcs12(PASSPHRASE.encode()))
    environment.oftp2d(station.home, "renew", "run", "site")
    content = wait_for("the export", lambda: exported(station), told=station.tail)
    assert content.startswith(new.pem)
    wait_for("the plugin to be told", lambda: not (station.home / "drop" / "site.p12").exists(), told=station.tail)
    shown = json.loads(environment.oftp2d(station.home, "renew", "status", "site", "--json"))
    assert shown["current"]["fingerprint"] == new.fingerprint
    assert str(station.home / "drop") in json.dumps(shown), "what the plugin knows besides is shown"
    assert PASSPHRASE not in json.dumps(shown) + station.log()
    assert station.stop() == 0

    environment.pip("uninstall", "--yes", "oftp2d-drop")
    station.start()
    station.line("error", "renewal/site.toml: site: plugin: there is no plugin called 'drop'")
    assert exported(station) == content, "what was exported stays"
    assert station.stop() == 0
