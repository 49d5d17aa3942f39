"""The way of a credential set through the engine: every verdict, every state, and what people are told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted

from oftp2d.renewal.interface import Verdict
from oftp2d.renewal.timetable import Phase
from oftp2d.vault import Secret
from tests.exchange.station import Log, watching
from tests.oftp2d.renewal.engine import DAY, NAME, PASSPHRASE, Engine, Home, answer, contained, issue


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    with watching() as seen:
        yield seen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.define()
    return home


async def in_use(engine: Engine, *, days: float = 730) -> str:
    """A credential is imported, and is the one in use; its fingerprint."""
    issued = issue(engine.home, days=days)
    standing = await engine.renewer.bring(NAME, Secret(contained(issued)), Secret(PASSPHRASE))
    assert standing.current is not None
    assert standing.current.fingerprint == issued.fingerprint
    return issued.fingerprint


@pytest_twisted.ensureDeferred
async def test_a_credential_is_fetched_tried_and_used_and_the_former_one_stays(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        old = await in_use(engine)
        await engine.later(669 * DAY)
        assert home.source.count("fetch") == 0
        new = issue(home)
        home.source.says("fetch", answer(new))
        await engine.later(2 * DAY)
        await engine.later(timedelta(hours=1))
        standing = await engine.renewer.standing(NAME)
        assert home.source.count("fetch") == 1
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint
        assert standing.former is not None
        assert standing.former.fingerprint == old
        assert standing.phase is Phase.VALID
        assert standing.record.verdict == Verdict.FETCHED
        assert await engine.states() == ["active", "former"]
        assert log.lines("the new one is in use", new.fingerprint)
        await engine.later(100 * DAY)
        assert await engine.states() == ["active", "ended"]
        assert home.source.count("fetch") == 1
