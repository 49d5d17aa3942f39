"""What must never get lost, never be asked twice, and never stop the station, whatever comes from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from oftp2d.ledger import CandidateState
from tests.oftp2d.renewal.engine import NAME, Home
from tests.oftp2d.renewal.test_renewer import in_use


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.define()
    return home


# --- what is never lost -----------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_credential_in_use_is_known_however_often_its_source_had_none(home: Home) -> None:
    async with home.engine() as engine:
        old = await in_use(engine)
        sets, now = engine.ledger.credential_sets, home.time.now

        def had_none() -> None:
            for _ in range(105):
                kept = sets.keep_answer(NAME, b"sealed", None, now)
                sets.set_aside(kept.id, CandidateState.EMPTY, "there is none yet", now)

        await engine.context.workers.database(had_none)
        standing = await engine.renewer.standing(NAME)
        assert standing.current is not None
        assert standing.current.fingerprint == old.fingerprint
        # Nor does the table grow with each of them; what became of them is in the audit trail.
        assert await engine.states() == ["empty"] * 20 + ["active"]
