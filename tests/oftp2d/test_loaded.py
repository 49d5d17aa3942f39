"""What processes do not load: a daemon holds what it loads until it ends, and administrators wait for what a command loads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Final

import click
import pytest

from oftp2d.cli.app import MODULES

COMMAND_LINE: Final = {
    "oftp2d.client": "a daemon asks nobody",
    "httpx": "a daemon is called, and fetches with Twisted",
    "oftp2d.cli.screen": "a daemon shows nothing, it logs",
    "oftp2d.cli.partners": "a daemon is one command, and needs no other",
    "rich": "is for people at a terminal",
    "pygments": "is for people at a terminal",
}
RARE: Final = {
    "alembic": "only a database of another release is migrated",
    "sqlalchemy.orm": "the ledger is SQLAlchemy Core",
    "sqlalchemy.dialects.postgresql": "only where the ledger is in PostgreSQL",
    "prometheus_client": "only where numbers are asked for",
    "lxml": "only with a trust list, or where an NMVS is called",
    "signxml": "only with a trust list",
    "treq": "only where an NMVS is called",
    "oftp2d.founding": "only once, by init",
    "oftp2d.inspection": "only by check",
}
STATION: Final = {
    "twisted.internet": "is the network of a daemon",
    "sqlalchemy": "is the ledger",
    "cryptography": "is for keys and certificates",
    "numpy": "is for the data of files",
    "asn1crypto": "is for certificates",
}
ASKING: Final = {"httpx": "only where the daemon is asked"}

TRACE = re.compile(r"^import time:.*\| +(\S+)$")


def unwanted(traced: Iterable[str], *lists: dict[str, str]) -> dict[str, str]:
    """What of the lists, each with its reason, was loaded according to the trace of ``-X importtime``."""
    loaded = {found[1] for line in traced if (found := TRACE.match(line))}
    assert "oftp2d.cli.app" in loaded, "the trace can be read"
    packages = {".".join(parts[:length]) for parts in (name.split(".") for name in loaded) for length in range(1, 5)}
    return {name: reason for each in lists for name, reason in each.items() if name in packages}


def oftp2d(*arguments: str) -> list[str]:
    return [sys.executable, "-X", "importtime", "-m", "oftp2d", *arguments]


def test_an_idle_daemon_holds_nothing_of_the_command_line_and_nothing_rare(tmp_path: Path) -> None:
    environment = {**os.environ, "OFTP2D_HOME": str(tmp_path / "home")}
    wish = ("--code", "O0013000001ACME", "--name", "Acme", "--host", "localhost", "--listen", "127.0.0.1")
    subprocess.run(
        oftp2d("init", *wish, "--tls-port", "0"), env=environment, check=True, capture_output=True, timeout=120
    )
    traced: list[str] = []
    with subprocess.Popen(oftp2d("run"), env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            for line in daemon.stderr:
                traced.append(line)
                if "daemon: the station runs" in line:
                    break
            daemon.send_signal(signal.SIGTERM)
            traced += daemon.stderr
        finally:
            daemon.kill()
    assert any("the station runs" in line for line in traced), "".join(traced[-5:])
    assert unwanted(traced, COMMAND_LINE, RARE) == {}


@pytest.mark.parametrize("arguments", [["--help"], ["partner", "--help"]], ids=" ".join)
def test_help_is_given_without_what_only_a_station_needs(arguments: list[str]) -> None:
    done = subprocess.run(oftp2d(*arguments), check=True, capture_output=True, text=True, timeout=120)
    assert unwanted(done.stderr.splitlines(), STATION, ASKING, RARE) == {}


def test_a_command_loads_no_other(tmp_path: Path) -> None:
    environment = {**os.environ, "OFTP2D_HOME": str(tmp_path)}
    done = subprocess.run(oftp2d("status"), env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "there is no station" in done.stderr
    others = {
        f"oftp2d.cli.{name}": "is for other commands" for name in ("certificates", "partners", "run", "transfers")
    }
    assert unwanted(done.stderr.splitlines(), STATION, others) == {}


def test_every_command_is_in_the_module_that_is_loaded_for_it() -> None:
    for module in set(MODULES.values()):
        group = click.Group()
        import_module(f"oftp2d.cli.{module}").add_to(group)
        assert list(group.commands) == [name for name, each in MODULES.items() if each == module]
