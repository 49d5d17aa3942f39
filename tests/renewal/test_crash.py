"""The station is killed (SIGKILL) anywhere between the decision to ask a source and the last note that its credential is in use.

Real processes, ledger, vault and consumers: ``crashing`` is what runs and dies. Behind each death the ledger is looked at, the
station starts again, and does what is due. What came is never lost, and its source is never asked for it twice.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from oftp2d.ledger import Candidate, CandidateState, CredentialSetRecord, Ledger, Station, Telling, TellingState
from oftp2d.renewal.material import Container, opened
from oftp2d.vault import Secret, Vault
from tests import pki
from tests.renewal.crashing import PASSPHRASE

ROOT = Path(__file__).parent.parent.parent
SET = "site-1"
NOW = pki.NOW
LATER, NEXT_DAY = timedelta(minutes=1), timedelta(days=1, hours=2)

DEFINITION = """
[[set]]
name = "site-1"
plugin = "source"
[set.source]
folder = "FOLDER"
[set.store]
stations = ["O0055US"]
[set.export]
folder = "exported"
[set.hook]
command = ["/bin/sh", "-c", "echo $OFTP2D_EVENT $OFTP2D_FINGERPRINT >> FOLDER/hooked"]
"""


@dataclass(frozen=True)
class Known:
    """What is in the ledger behind a run."""

    record: CredentialSetRecord
    candidates: tuple[Candidate, ...]
    active: Candidate | None
    open: Candidate | None
    tellings: tuple[Telling, ...]


class Nursery:
    """Starts the runs of a station; see ``crashing``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.renewal.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def run(self, home: Path, after: timedelta = timedelta(), **order: Any) -> int:
        """One run of the station in this home folder, so long after the test's begin; its exit code, or minus its signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order |= {"home": str(home), "now": (NOW + after).isoformat()}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.end()


@pytest.fixture(scope="module")
def credentials() -> list[pki.Issued]:
    """The one in use, which is due, and the two that its source would give."""
    periods = ((-700, 40), (-1, 729), (-1, 730))
    return [pki.make(subject="CN=site 1", issuer=pki.issuing("A"), station="O0055US", days=days) for days in periods]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, credentials: list[pki.Issued]) -> Path:
    """A home folder in which the first credential is in use, and is due."""
    home = tmp_path_factory.mktemp("crash") / "home"
    (home / "renewal").mkdir(parents=True)
    Vault.create(home / "master.key")
    _move_in(home)
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    ledger.stations.add(Station(code="O0055US", name="ours", main=True))
    ledger.close()
    for number, issued in enumerate(credentials[1:]):
        (home / f"{number}.p12").write_bytes(issued.pkcs12(PASSPHRASE))
    first = home / "first.p12"
    first.write_bytes(credentials[0].pkcs12(PASSPHRASE))
    assert nursery.run(home, -NEXT_DAY, first=str(first)) == 0, (home / "log").read_text()
    known = _known(home)
    assert known.active is not None
    assert known.active.fingerprint == credentials[0].fingerprint
    return home


def _move_in(home: Path) -> None:
    (home / "renewal" / "sets.toml").write_text(DEFINITION.replace("FOLDER", str(home)))


def _copied(template: Path, home: Path) -> Path:
    shutil.copytree(template, home, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    _move_in(home)
    return home


def _known(home: Path) -> Known:
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    sets = ledger.credential_sets
    known = Known(
        record=sets.get(SET),
        candidates=tuple(sets.candidates(SET)),
        active=sets.active(SET),
        open=sets.open_candidate(SET),
        tellings=tuple(ledger.tellings.list(SET)),
    )
    ledger.close()
    return known


def _asked(home: Path) -> int:
    asked = home / "asked"
    return len(asked.read_bytes()) if asked.exists() else 0


def _points(home: Path) -> list[str]:
    return (home / "points").read_text().splitlines()


def _goes_on(nursery: Nursery, home: Path, credentials: list[pki.Issued]) -> set[str]:
    """Start again behind a death, and see that nothing was lost, asked twice or left out; returns what the death has left."""
    dead, asked, first = _known(home), _asked(home), credentials[0].fingerprint
    known_before = next((each for each in dead.candidates if each.fingerprint != first), None)
    assert dead.active is not None, "there is one in use at any moment"
    _runs(nursery, home, LATER)
    known = _known(home)
    if known_before is not None:
        assert (asked, _asked(home)) == (1, 1), "what is here is not asked for again"
        left = known_before.state.value
    elif dead.record.attempted_at is None:
        assert (asked, _asked(home)) == (0, 1), "what was not begun is begun"
        left = "not asked"
    else:
        assert _asked(home) == asked <= 1, "an attempt that may have been made counts"
        assert known.active == dead.active
        assert (known.record.attempted_at, known.record.is_unanswered) == (dead.record.attempted_at, False)
        assert known.record.verdict == "retry"
        _runs(nursery, home, NEXT_DAY)
        assert _asked(home) == asked + 1, "and the next is made the next day"
        left = "not known"
    _is_in_use(home, credentials[_asked(home)].fingerprint, first)
    untold = {"not told" for each in dead.tellings if each.state is not TellingState.DONE}
    return {left, *untold}


def _runs(nursery: Nursery, home: Path, after: timedelta) -> None:
    assert nursery.run(home, after) == 0, (home / "log").read_text()


def _is_in_use(home: Path, fingerprint: str, former: str) -> None:
    """A credential is in use, and everybody knows."""
    known = _known(home)
    assert [(each.state, each.fingerprint) for each in known.candidates] == [
        (CandidateState.ACTIVE, fingerprint),
        (CandidateState.FORMER, former),
    ]
    assert [(each.consumer, each.state) for each in known.tellings] == [
        (consumer, TellingState.DONE) for consumer in ("export", "hook", "source", "store")
    ]
    assert (known.record.blocked, known.record.owner, known.record.is_unanswered) == ("", None, False)
    (exported,) = (home / "exported" / "current").glob("*.p12")
    container = Container(
        content=Secret(exported.read_bytes()),
        passphrase=Secret(exported.with_suffix(".passphrase").read_bytes().strip()),
    )
    assert opened(container).fingerprint == fingerprint
    assert (home / "hooked").read_text().splitlines()[-1] == f"activated {fingerprint}"
    assert (home / "confirmed").read_text().splitlines()[-1] == fingerprint
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    assert fingerprint in {each.fingerprint for each in ledger.certificates.list() if each.active}
    ledger.close()


LEFT = {
    "fetch": {"not known"},
    "read": {"answered"},
    "tell export": {"active", "not told"},
}


@pytest.mark.parametrize("point", LEFT)
def test_a_station_killed_in_a_step_goes_on_from_there(
    nursery: Nursery, template: Path, tmp_path: Path, credentials: list[pki.Issued], point: str
) -> None:
    home = _copied(template, tmp_path / "home")
    assert nursery.run(home, kill=point) == -signal.SIGKILL
    assert _points(home)[-1] == point
    assert _goes_on(nursery, home, credentials) == LEFT[point]


@pytest.mark.slow
def test_a_station_killed_anywhere_loses_nothing_and_asks_for_nothing_twice(
    nursery: Nursery, template: Path, tmp_path: Path, credentials: list[pki.Issued]
) -> None:
    left: set[str] = set()
    for number in itertools.count(1):
        home = _copied(template, tmp_path / str(number))
        code = nursery.run(home, kill=number)
        if not code:
            break
        assert (code, len(_points(home))) == (-signal.SIGKILL, number), (home / "log").read_text()
        left |= _goes_on(nursery, home, credentials)
        shutil.rmtree(home)
    _is_in_use(home, credentials[1].fingerprint, credentials[0].fingerprint)
    assert left == {"not asked", "not known", "answered", "staged", "validated", "probed", "active", "not told"}
    steps = {
        "plan",
        "fetch",
        "read",
        "stage",
        "validate",
        "probe",
        "activate",
        "tell store",
        "tell export",
        "tell hook",
    }
    assert set(_points(home)) == {*steps, "commit"}
