"""Five hundred credential sets whose credentials end in the same week: their attempts are spread, and none is forgotten.

The ledger and the engine are real, and weeks go by under a clock of the test. Keys come from a small pool, on a curve, and what
a source sends is PEM: both are quickly made.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec

from oftp2d.renewal.interface import Answer, Case, Refusal
from oftp2d.renewal.timetable import Phase
from oftp2d.vault import Secret
from tests import pki
from tests.exchange.station import Log, watching
from tests.oftp2d.renewal.engine import DAY, NOT_YET, Engine, Home

SETS = 500
HOUR = timedelta(hours=1)
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(8)]
ENDS = 90
"""The first one ends so many days from now, the last a week later."""


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    with watching() as seen:
        yield seen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.define(*(f"site-{number:03}" for number in range(SETS)))
    return home


class Attempts:
    """A source that notes when it was asked, and has a successor for everybody but now and then one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.at: list[tuple[datetime, str]] = []
        home.source.always["fetch"] = self

    def __call__(self, case: Case) -> Answer | Refusal:
        self.at.append((self._home.time.now, case.name))
        # Every tenth has to ask a second time.
        if case.name.endswith("7") and sum(name == case.name for _, name in self.at) == 1:
            return NOT_YET
        return Answer(content=Secret(pem(issued(self._home, case.name, 730))))

    def by_hour(self) -> Counter[datetime]:
        """How many there were in each hour."""
        return Counter(at.replace(minute=0, second=0, microsecond=0) for at, _ in self.at)


@cache
def authority() -> pki.Issued:
    """Who signs them all."""
    return pki.make(
        subject="CN=Authority",
        key=KEYS[0],
        ca=True,
        extended=None,
        key_usage=("keyCertSign",),
        hosts=(),
        days=(-9, 3650),
    )


def issued(home: Home, name: str, days: float) -> pki.Issued:
    """A credential of a set, valid for so many days from now on; two of one set that follow each other have other keys."""
    ahead = (home.time.now - pki.NOW) / DAY
    key = KEYS[1 + int(name[-3:]) % 3 + (4 if ahead else 0)]
    return pki.make(subject=f"CN={name}", issuer=authority(), key=key, days=(ahead - 1, ahead + days), points=())


def pem(made: pki.Issued) -> bytes:
    """A credential with its chain, and its key without a passphrase."""
    return made.key_pem + b"".join(each.pem for each in (made, *made.chain))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a ledger is kept from one test for the next."""
    return tmp_path_factory.mktemp("shelf")


async def provided(home: Home, shelf: Path) -> None:
    """Each set has a credential in use: they end within one week, many of them in the same second."""
    kept, ledger = shelf / "ledger.sqlite", home.folder / "ledger.sqlite"
    if not kept.exists():
        async with home.engine() as engine:
            for number in range(SETS):
                name = f"site-{number:03}"
                await engine.renewer.bring(name, Secret(pem(issued(home, name, ENDS + number % 8))))
        shutil.copy(ledger, kept)
    else:
        shutil.copy(kept, ledger)


def resident() -> int:
    """KiB of memory that this process has in use."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


async def all_renewed(engine: Engine) -> list[Any]:
    """How all stand; each has its successor, and the former one."""
    standings = list(await engine.renewer.standings())
    assert len(standings) == SETS
    assert all(each.phase is Phase.VALID and each.former is not None for each in standings)
    assert not await engine.concerns()
    return standings


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_attempts_of_many_sets_that_are_due_at_once_are_spread_and_none_is_forgotten(
    home: Home, shelf: Path, record_property: Any
) -> None:
    attempts = Attempts(home)
    await provided(home, shelf)
    home.time.go((ENDS - 60.5) * DAY)
    async with home.engine() as engine:
        assert attempts.at == []
        before = resident()
        for _ in range(10 * 24):
            await engine.later(HOUR)
        grown = resident() - before
        await all_renewed(engine)
    hours = attempts.by_hour()
    assert len({name for _, name in attempts.at}) == SETS
    assert len(attempts.at) == SETS + SETS // 10
    # About sixty of one second each day for a week: over its 24 hours that is two or three an hour.
    assert max(hours.values()) <= 15
    assert len(hours) >= 150
    record_property("attempts per hour", sorted(Counter(hours.values()).items()))
    record_property("grown KiB", grown)
    # Several hundred credentials went through; were one kept opened, and its key, that would be more.
    assert grown < 40_000


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_many_sets_that_became_due_while_the_station_stood_still_are_asked_within_the_hour(
    home: Home, shelf: Path, record_property: Any
) -> None:
    attempts = Attempts(home)
    await provided(home, shelf)
    home.time.go((ENDS - 40) * DAY)
    async with home.engine() as engine:
        assert attempts.at == []
        for _ in range(12):
            await engine.later(HOUR / 12)
        assert len({name for _, name in attempts.at}) == SETS
        for _ in range(25):
            await engine.later(HOUR)
        await all_renewed(engine)
    steps = Counter(at for at, _ in attempts.at if at < attempts.at[0][0] + HOUR)
    record_property("attempts in five minutes", [steps[at] for at in sorted(steps)])
    assert len(steps) == 12
    assert max(steps.values()) <= 75
