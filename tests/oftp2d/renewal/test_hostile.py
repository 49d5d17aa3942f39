"""What must never get lost, never be asked twice, and never stop the station, whatever comes from outside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from oftp2d.errors import OperatorError
from oftp2d.ledger import CandidateState, TellingState
from oftp2d.renewal.interface import Answer, Refusal, SourceRefusedError, Verdict
from oftp2d.vault import Secret
from tests.oftp2d.renewal.engine import DAY, NAME, PASSPHRASE, Home, answer, contained, issue
from tests.oftp2d.renewal.test_renewer import at_its_time, in_use


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


@pytest_twisted.ensureDeferred
async def test_one_that_an_operator_brings_takes_nothing_with_it_that_may_be_better(home: Home) -> None:
    home.define(auto_activate=False)
    async with home.engine() as engine:
        await in_use(engine, days=100)
        home.source.says("fetch", Answer(content=Secret(b"what is that?")), answer(issue(home, days=400)))
        await engine.renewer.run(NAME)
        await engine.renewer.run(NAME)
        assert await engine.states() == ["probed", "unreadable", "active"]
        brought = await engine.renewer.bring(NAME, Secret(contained(issue(home, days=200))), Secret(PASSPHRASE))
        assert brought.candidate is not None
        await engine.renewer.activate(NAME, candidate=brought.candidate.id)
        assert await engine.states() == ["active", "probed", "unreadable", "former"]


@pytest_twisted.ensureDeferred
async def test_of_many_answers_that_nobody_can_read_the_first_ones_stay(home: Home) -> None:
    home.source.always["fetch"] = Answer(content=Secret(b"what is that?"))
    async with home.engine() as engine:
        for _ in range(13):
            await engine.renewer.run(NAME)
        found = await engine.renewer.candidates(NAME)
        kept = [each.id for each in found if each.state is CandidateState.UNREADABLE]
        first = found[-1].id
        assert len(kept) == 10
        assert {first, first + 1, first + 2, first + 3, first + 4} < set(kept)


# --- what is never asked twice ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "open to others", "empty", "another secret beside it"])
@pytest_twisted.ensureDeferred
async def test_a_block_stays_while_there_is_no_other_value_of_the_secret_that_failed(home: Home, how: str) -> None:
    secret = home.folder / "password"
    secret.write_text("wrong\n", encoding="utf-8")
    secret.chmod(0o600)
    home.define(scripted={"password": f"file:{secret}"})
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.AUTH_FAILED))
        await at_its_time(engine)
        await engine.later(timedelta(minutes=1))
        match how:
            case "gone":
                secret.unlink()
            case "open to others":
                secret.chmod(0o644)
            case "empty":
                secret.write_text("", encoding="utf-8")
            case _:
                home.define(scripted={"password": f"file:{secret}", "proxy": f"file:{secret}"})
                await engine.renewer.reload()
        await engine.later(timedelta(minutes=1))
        assert (await engine.renewer.standing(NAME)).record.blocked
        secret.write_text("wrong\n", encoding="utf-8")
        secret.chmod(0o600)
        await engine.later(2 * DAY)
        assert (await engine.renewer.standing(NAME)).record.blocked
        assert home.source.count("fetch") == 1
        secret.write_text("right\n", encoding="utf-8")
        await engine.later(timedelta(minutes=1))
        assert not (await engine.renewer.standing(NAME)).record.blocked


@pytest_twisted.ensureDeferred
async def test_a_login_that_is_refused_behind_the_fetch_is_not_tried_again_either(home: Home) -> None:
    home.define(plugin="busy", busy={"password": "store"})
    refused = SourceRefusedError(Refusal(verdict=Verdict.AUTH_FAILED, code="AU_06", text="not confirmed"))
    home.source.always["activate"] = refused
    async with home.engine() as engine:
        await engine.renewer.keep_secret(NAME, "password", Secret("wrong"))
        await in_use(engine)
        assert home.source.count("activate") == 1
        standing = await engine.renewer.standing(NAME)
        assert standing.record.blocked == Verdict.AUTH_FAILED
        assert [each.state for each in standing.tellings] == [TellingState.FAILED]
        for _ in range(4):
            await engine.later(DAY)
        # One that is brought in meanwhile is used here, and the source is not told either.
        home.source.says("tend", None)
        await in_use(engine, days=900)
        assert home.source.count("activate") == 1
        assert home.source.count("tend") == 0
        home.source.always["activate"] = "confirmed"
        await engine.renewer.keep_secret(NAME, "password", Secret("right"))
        await engine.later(DAY)
        standing = await engine.renewer.standing(NAME)
        assert not standing.record.blocked
        assert [each.state for each in standing.tellings] == [TellingState.DONE]
        assert home.source.count("activate") == 2


# --- a clock that was wrong -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_what_was_planned_by_a_clock_that_was_years_ahead_is_planned_again(home: Home) -> None:
    home.define(plugin="busy", busy={"password": "store"}, export='folder = "out"')
    home.source.always["fetch"] = Refusal(verdict=Verdict.NOT_YET)
    async with home.engine() as engine:
        await in_use(engine)
        await engine.later(DAY)
        home.told.failing["export"] = OperatorError("no room", "make some")
        await in_use(engine, days=740)
        before = home.time.now
        await engine.later(5 * 365 * DAY)
        await engine.later(timedelta(hours=2))
        asked, tended = home.source.count("fetch"), home.source.count("tend")
        assert asked
        home.time.now = before
        del home.told.failing["export"]
        home.source.says("tend", None)
        await engine.later(2 * DAY)
        assert home.source.count("tend") == tended + 1
        assert [each.state for each in (await engine.renewer.standing(NAME)).tellings] == [TellingState.DONE] * 2
        assert home.source.count("fetch") == asked
        await at_its_time(engine)
        await engine.later(DAY)
        assert home.source.count("fetch") > asked


@pytest_twisted.ensureDeferred
async def test_stopping_twice_ends_twice(home: Home) -> None:
    hangs: Deferred[object] = Deferred()
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", hangs)
        asking = Deferred.fromCoroutine(engine.renewer.run(NAME))
        while not home.source.count("fetch"):
            await deferLater(reactor, 0.01)
        both = [Deferred.fromCoroutine(engine.renewer.stop()) for _ in range(2)]
        hangs.callback(Refusal(verdict=Verdict.NOT_YET))
        await gatherResults([asking, *both])
        await engine.renewer.stop()
        assert not home.time.timers.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_the_end_does_not_wait_for_plugins_that_cannot_say_whether_it_is_time(home: Home) -> None:
    home.define("one", "two", plugin="busy", busy={"password": "store"})
    home.source.always["plan"] = Deferred()
    async with home.engine(start=False) as engine:
        await engine.renewer.start()
        while not home.source.asked:
            await deferLater(reactor, 0.01)
        stopping = Deferred.fromCoroutine(engine.renewer.stop())
        home.time.timers.advance(30)
        await stopping
        assert [step for step, _ in home.source.asked] == ["plan"]
        assert not home.time.timers.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_plan_is_asked_for_again_as_soon_as_what_kept_it_has_passed(home: Home) -> None:
    home.define(plugin="busy", busy={"password": "store"})
    home.source.says("plan", OperatorError("the profile cannot be read", "check its mode"))
    async with home.engine() as engine:
        await engine.later(timedelta(hours=1))
        assert home.source.count("fetch") == 1
