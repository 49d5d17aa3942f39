"""The way of a credential set through the engine: every verdict, every state, and what people are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from oftp2d.errors import OperatorError
from oftp2d.ledger import CandidateState
from oftp2d.renewal.interface import Answer, Case, Refusal, Trial, Verdict
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.standing import to_do
from oftp2d.renewal.timetable import Phase
from oftp2d.vault import Secret
from tests import pki
from tests.exchange.station import Log, eventually, watching
from tests.oftp2d.renewal.engine import (
    DAY,
    NAME,
    PASSPHRASE,
    PASSWORD,
    Engine,
    Home,
    answer,
    contained,
    issue,
    notified,
)


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    with watching() as seen:
        yield seen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.define()
    return home


async def in_use(engine: Engine, name: str = NAME, *, days: float = 730, **more: Any) -> pki.Issued:
    """A credential is imported, and is the one in use."""
    issued = issue(engine.home, days=days, **more)
    standing = await engine.renewer.bring(name, Secret(contained(issued)), Secret(PASSPHRASE))
    assert standing.current is not None
    assert standing.current.fingerprint == issued.fingerprint
    return issued


async def at_its_time(engine: Engine, *, left: float = 59) -> None:
    """So many days before the end of the credential in use the source is asked."""
    current = (await engine.renewer.standing(NAME)).current
    assert current is not None
    assert current.valid_until is not None
    engine.home.time.now = current.valid_until - left * DAY
    await engine.quiet()
    await engine.later(timedelta(hours=1))


async def refuses(asked: Awaitable[object], *words: str) -> OperatorError:
    """It ends in an error for people, with these words."""
    with pytest.raises(OperatorError) as caught:
        await asked
    assert all(word in str(caught.value) for word in words), caught.value
    return caught.value


# --- the way of a good one --------------------------------------------------------------------------------------


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
        assert standing.former.fingerprint == old.fingerprint
        assert standing.phase is Phase.VALID
        assert standing.record.verdict == Verdict.FETCHED
        assert standing.extra == {"host": "test"}
        assert await engine.states() == ["active", "former"]
        assert log.lines("a new one is here", "transaction T1")
        assert log.lines("the new one is in use", new.fingerprint)
        await engine.later(100 * DAY)
        assert await engine.states() == ["active", "ended"]
        assert home.source.count("fetch") == 1
        assert (await engine.audit())[-8:] == [
            "credential received",
            "credential asked for",
            "credential staged",
            "credential validated",
            "credential probed",
            "credential former",
            "credential activated",
            "credential ended",
        ]


@pytest_twisted.ensureDeferred
async def test_a_set_without_a_credential_asks_within_the_hour(home: Home) -> None:
    new = issue(home)
    home.source.says("fetch", answer(new))
    async with home.engine() as engine:
        assert any("there is no credential yet" in line for line in await engine.concerns())
        await engine.later(timedelta(hours=1))
        assert await engine.states() == ["active"]
        assert not await engine.concerns()


@pytest_twisted.ensureDeferred
async def test_a_restart_does_not_put_off_what_is_late(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine, days=50)
    for _ in range(7):
        async with home.engine() as engine:
            await engine.later(timedelta(minutes=10))
    assert home.source.count("fetch") == 1


@pytest_twisted.ensureDeferred
async def test_what_is_not_renewed_by_itself_waits_for_an_operator(home: Home) -> None:
    home.define(auto_renew=False)
    async with home.engine() as engine:
        await in_use(engine)
        await at_its_time(engine)
        assert home.source.count("fetch") == 0
        assert any("not renewed by itself" in line for line in await engine.concerns())
        new = issue(home)
        home.source.says("fetch", answer(new))
        standing = await engine.renewer.run(NAME, tan=Secret("12345678"))
        assert home.source.tans == ["12345678"]
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint


@pytest_twisted.ensureDeferred
async def test_a_new_credential_waits_where_activation_is_left_to_operators(home: Home, log: Log) -> None:
    home.define(auto_activate=False)
    async with home.engine() as engine:
        old = await in_use(engine)
        new = issue(home, days=1500)
        home.source.says("fetch", answer(new))
        await at_its_time(engine)
        await engine.later(3 * DAY)
        assert await engine.states() == ["probed", "active"]
        assert home.source.count("fetch") == 1
        assert any("waits to be activated; run 'oftp2d renew activate" in line for line in await engine.concerns())
        assert len(log.lines("a new one waits")) == 1
        assert (await engine.renewer.standing(NAME)).next_at is None
        # An operator's run fetches no other one, either.
        standing = await engine.renewer.run(NAME)
        assert home.source.count("fetch") == 1
        assert standing.current is not None
        assert standing.current.fingerprint == old.fingerprint
        standing = await engine.renewer.activate(NAME)
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint
        assert not [line for line in await engine.concerns() if "waits" in line]


# --- what sources say instead -----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_not_yet_is_asked_again_the_next_day_and_is_a_warning_when_late(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        await at_its_time(engine)
        await engine.later(timedelta(hours=23))
        assert home.source.count("fetch") == 1
        await engine.later(timedelta(hours=1))
        assert home.source.count("fetch") == 2
        assert not [line for line in log.complaints() if "gave none" in line]
        home.source.says("fetch", *[Refusal(verdict=Verdict.NOT_YET, code="LATE_07")] * 2)
        await at_its_time(engine, left=20)
        assert log.lines("warn", "gave none", "ask the source why")
        assert home.source.count("fetch") == 3
        await engine.later(timedelta(hours=12))
        assert home.source.count("fetch") == 4
        assert len(log.lines("warn", "gave none")) == 1


@pytest_twisted.ensureDeferred
async def test_a_wrong_secret_blocks_at_once_and_another_one_frees_the_set(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await engine.renewer.keep_secret(NAME, "password", Secret(PASSWORD))
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.AUTH_FAILED, code="AU_01", text="wrong password"))
        await at_its_time(engine)
        assert home.source.count("fetch") == 1
        await engine.later(10 * DAY)
        await refuses(engine.renewer.run(NAME), "blocked")
        await refuses(engine.renewer.run(NAME, tan=Secret("12345678")), "blocked")
        assert home.source.count("fetch") == 1
        standing = await engine.renewer.standing(NAME)
        assert standing.waits_for_a_person
        assert standing.next_at is None
        assert any(
            "is blocked (authentication failed: AU_01 wrong password)" in line for line in await engine.concerns()
        )
        # The same secret once more changes nothing.
        assert (await engine.renewer.keep_secret(NAME, "password", Secret(PASSWORD))).record.blocked
        home.source.says("fetch", answer(issue(home)))
        assert not (await engine.renewer.keep_secret(NAME, "password", Secret("another one"))).record.blocked
        await engine.quiet()
        assert await engine.states() == ["active", "former"]
        assert not [line for line in log.text.splitlines() if PASSWORD in line or "another one" in line]


@pytest_twisted.ensureDeferred
async def test_a_block_ends_by_itself_when_the_file_holds_another_secret(home: Home) -> None:
    secret = home.folder / "password"
    secret.write_text("wrong\n", encoding="utf-8")
    secret.chmod(0o600)
    home.define(scripted={"password": f"file:{secret}"})
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.AUTH_FAILED))
        await at_its_time(engine)
        await engine.later(timedelta(minutes=1))
        assert (await engine.renewer.standing(NAME)).record.blocked
        secret.write_text("right\n", encoding="utf-8")
        await engine.later(timedelta(minutes=1))
        assert not (await engine.renewer.standing(NAME)).record.blocked
        assert home.source.count("fetch") == 1
        await engine.later(DAY)
        assert home.source.count("fetch") == 2


@pytest_twisted.ensureDeferred
async def test_a_locked_account_waits_for_an_operator_whatever_the_secret(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.LOCKED, code="AU_02"))
        await at_its_time(engine)
        assert (await engine.renewer.keep_secret(NAME, "password", Secret("another one"))).record.blocked
        await engine.later(5 * DAY)
        assert home.source.count("fetch") == 1
        assert not (await engine.renewer.unblock(NAME)).record.blocked
        await engine.quiet()
        assert home.source.count("fetch") == 2


@pytest_twisted.ensureDeferred
async def test_trouble_is_tried_again_with_growing_waits_and_never_more_often_than_the_phase_allows(home: Home) -> None:
    async with home.engine() as engine:
        home.source.always["fetch"] = Refusal(verdict=Verdict.RETRY, text="503")
        await in_use(engine)
        await at_its_time(engine)
        attempts = [home.source.count("fetch")]
        for _ in range(4):
            await engine.later(timedelta(hours=12))
            attempts.append(home.source.count("fetch"))
        assert attempts == [1, 1, 2, 2, 3]
        assert (await engine.renewer.standing(NAME)).record.failures == 3


@pytest_twisted.ensureDeferred
async def test_a_source_is_left_in_peace_for_as_long_as_it_demands(home: Home) -> None:
    async with home.engine() as engine:
        home.source.says("fetch", Refusal(verdict=Verdict.RETRY, after=3 * DAY))
        await in_use(engine)
        await at_its_time(engine)
        await engine.later(2 * DAY)
        assert home.source.count("fetch") == 1
        await engine.later(DAY)
        assert home.source.count("fetch") == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("verdict", [Verdict.FATAL, Verdict.ALREADY])
async def test_what_a_person_must_see_to_is_asked_once_a_day_even_when_it_is_critical(
    home: Home, verdict: Verdict, log: Log
) -> None:
    async with home.engine() as engine:
        home.source.always["fetch"] = Refusal(verdict=verdict, code="XX_99", text="strange", transaction="TRX1")
        await in_use(engine)
        await at_its_time(engine, left=5)
        for _ in range(4):
            await engine.later(timedelta(hours=6))
        assert home.source.count("fetch") == 2
        assert len(log.lines("error", "XX_99 strange (transaction TRX1)")) == 1
        assert any("XX_99 strange" in line for line in await engine.concerns())


@pytest_twisted.ensureDeferred
async def test_what_a_source_says_that_we_have_is_looked_for_here_and_told_how_to_be_used(home: Home, log: Log) -> None:
    already = Refusal(verdict=Verdict.ALREADY, code="PKI_09", text="confirmed already", advice="call the help desk")
    async with home.engine() as engine:
        await in_use(engine, days=30)
        home.source.always["fetch"] = already
        assert (await engine.renewer.run(NAME)).record.advice == "call the help desk"
        # It may stand in an answer that was kept before it was read.
        home.source.says("fetch", Answer(content=Secret(b"<already/>")))
        home.source.says("read", already)
        assert (await engine.renewer.run(NAME)).record.advice == "call the help desk"
        new = issue(home)
        home.source.says("fetch", answer(new))
        await engine.renewer.run(NAME)
        await engine.renewer.rollback(NAME)
        await engine.renewer.run(NAME)
        (id_,) = [each.id for each in await engine.renewer.candidates(NAME) if each.state == "rolled back"]
        use = f"'oftp2d renew activate {NAME} --candidate {id_}' uses it"
        assert any(f"credential {id_}, rolled back" in line and use in line for line in await engine.concerns())
        assert log.lines("error", "confirmed already", use)
        # What the advice says, works.
        standing = await engine.renewer.activate(NAME, candidate=id_)
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"subject": "CN=another"}, "--anyway' uses it all the same"),
        ({"begins": 10}, "cannot be overruled: ask the source for another one"),
        (None, "'oftp2d renew run pharmacy-1' reads it again"),
    ],
)
async def test_also_one_that_was_refused_or_cannot_be_read_is_found(
    home: Home, given: dict[str, Any] | None, words: str
) -> None:
    async with home.engine() as engine:
        await in_use(engine, days=30)
        home.source.always["fetch"] = Refusal(verdict=Verdict.ALREADY, code="PKI_09")
        came = Answer(content=Secret(b"what is that?")) if given is None else answer(issue(home, **given))
        home.source.says("fetch", came)
        await engine.renewer.run(NAME)
        assert words in (await engine.renewer.run(NAME)).record.advice


@pytest_twisted.ensureDeferred
async def test_a_day_brings_no_more_attempts_than_its_phase_allows(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        await at_its_time(engine, left=5)
        for _ in range(48):
            await engine.later(timedelta(hours=1))
        assert 11 <= home.source.count("fetch") <= 13


# --- answers that are odd ---------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_bounds_of_a_source_hold_for_operators_too_and_it_is_said_until_when(home: Home) -> None:
    home.define(plugin="bounded", terms="critical_attempts = 96")
    async with home.engine() as engine:
        await in_use(engine)
        home.time.now = pki.NOW.replace(hour=1, minute=0)
        await engine.renewer.run(NAME)
        await refuses(engine.renewer.run(NAME), "asked at 01:00 UTC", "30 minutes", "ask at", "01:30 UTC or later")
        await refuses(engine.renewer.run(NAME, tan=Secret("12345678")), "30 minutes")
        home.time.go(timedelta(minutes=30))
        await engine.renewer.run(NAME)
        home.time.go(timedelta(minutes=30))
        await engine.renewer.run(NAME)
        home.time.go(timedelta(hours=5))
        await refuses(engine.renewer.run(NAME), "3 times today", "00:00 UTC or later")
        assert home.source.count("fetch") == 3
        # A set may want to be asked more often than its source bears.
        await at_its_time(engine, left=5)
        for _ in range(72):
            await engine.later(timedelta(minutes=20))
        assert home.source.count("fetch") <= 3 + 2 * 3


@pytest_twisted.ensureDeferred
async def test_a_set_freed_by_another_secret_is_asked_when_its_source_bears_it(home: Home) -> None:
    home.define(plugin="bounded", bounded={"password": "store"})
    async with home.engine() as engine:
        await engine.renewer.keep_secret(NAME, "password", Secret(PASSWORD))
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.AUTH_FAILED, code="AU_01"))
        await at_its_time(engine, left=20)
        assert home.source.count("fetch") == 1
        attempted = (await engine.renewer.standing(NAME)).record.attempted_at
        assert attempted is not None
        home.time.now = attempted + timedelta(minutes=10)
        standing = await engine.renewer.keep_secret(NAME, "password", Secret("another one"))
        assert not standing.record.blocked
        assert standing.next_at == attempted + timedelta(minutes=30)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_cannot_be_read_is_kept_and_read_again_when_that_may_help(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        new = issue(home, days=1500)
        home.source.says("fetch", answer(new))
        home.source.says("read", OperatorError("the profile fits not", "correct it"))
        await at_its_time(engine)
        assert await engine.states() == ["unreadable", "active"]
        assert log.lines("error", "cannot be read, and is kept", "the profile fits not")
        assert any("cannot be read; it is kept" in line for line in await engine.concerns())
        standing = await engine.renewer.run(NAME)
        assert home.source.count("fetch") == 1
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint


@pytest_twisted.ensureDeferred
async def test_answers_for_a_person_are_kept_but_not_without_end(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.always["fetch"] = lambda _case: Answer(content=Secret(b"no container"))
        await at_its_time(engine)
        for _ in range(13):
            await engine.later(DAY)
        states = await engine.states()
        assert states.count("unreadable") == 10
        assert states.count("superseded") == 4


@pytest_twisted.ensureDeferred
async def test_an_answer_without_a_credential_counts_as_what_it_says(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Answer(content=Secret(b"<soap/>"), transaction="T7"))
        home.source.says("read", Refusal(verdict=Verdict.LOCKED, code="AU_05", notifications=notified("N1")))
        await at_its_time(engine)
        standing = await engine.renewer.standing(NAME)
        assert await engine.states() == ["empty", "active"]
        assert standing.record.blocked == Verdict.LOCKED
        assert standing.record.transaction_id == "T7"
        assert any(
            f"its source said on {home.time.now:%Y-%m-%d}: N1 about N1" in line for line in await engine.concerns()
        )


@pytest_twisted.ensureDeferred
async def test_the_same_credential_again_is_no_successor(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        old = await in_use(engine)
        home.source.always["fetch"] = lambda _case: answer(old)
        await at_its_time(engine)
        assert await engine.states() == ["empty", "active"]
        assert log.lines("warn", "is the one that is here already, active")
        for hours, asked in ((23, 1), (1, 2), (24, 3)):
            await engine.later(timedelta(hours=hours))
            assert home.source.count("fetch") == asked, "asked again the next day, as one that has none yet"


@pytest_twisted.ensureDeferred
async def test_a_credential_with_a_problem_is_kept_and_used_only_if_an_operator_says_so(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        old = await in_use(engine)
        other = issue(home, subject="CN=pharmacy-2,O=Test", days=1500)
        home.source.says("fetch", answer(other))
        await at_its_time(engine)
        assert await engine.states() == ["refused", "active"]
        assert log.lines("error", "the new one is not used", "CN=pharmacy-2")
        assert any("--anyway" in line for line in await engine.concerns())
        await engine.later(2 * DAY)
        assert home.source.count("fetch") == 1
        await refuses(engine.renewer.activate(NAME), "CN=pharmacy-2", "--anyway")
        assert (await engine.renewer.standing(NAME)).current.fingerprint == old.fingerprint  # type: ignore[union-attr]
        standing = await engine.renewer.activate(NAME, anyway=True)
        assert standing.current is not None
        assert standing.current.fingerprint == other.fingerprint


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_overruled_stays_unused_until_it_passes(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.time.now += 675 * DAY
        later = issue(home, begins=2)
        home.source.says("fetch", answer(later))
        await engine.quiet()
        await engine.later(timedelta(hours=1))
        assert await engine.states() == ["refused", "active"]
        await refuses(engine.renewer.activate(NAME, anyway=True), "cannot be overruled", "valid from")
        await engine.later(2 * DAY)
        assert await engine.states() == ["active", "former"]
        assert home.source.count("fetch") == 1


@pytest_twisted.ensureDeferred
async def test_another_one_is_asked_for_a_week_after_one_that_was_refused(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", answer(issue(home, subject="CN=wrong", days=1300)))
        await at_its_time(engine)
        new = issue(home)
        home.source.says("fetch", answer(new))
        await engine.later(6 * DAY)
        assert await engine.states() == ["refused", "active"]
        await engine.later(DAY)
        assert await engine.states() == ["active", "superseded", "former"]


@pytest_twisted.ensureDeferred
async def test_consumers_have_a_say_in_what_is_used(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.told.wrong = [Problem(key="store", text="its key is of no use there", may_be_overruled=False)]
        home.source.says("fetch", answer(issue(home, days=1500)))
        await at_its_time(engine)
        assert await engine.states() == ["refused", "active"]
        home.told.wrong = []
        await engine.later(DAY)
        assert await engine.states() == ["active", "former"]


# --- trying it --------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_credential_that_was_tried_in_vain_leaves_the_one_before_in_use(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", answer(issue(home, days=1500)))
        home.source.always["probe"] = Trial(ok=False, text="403", advice="wait for the source")
        await at_its_time(engine)
        assert await engine.states() == ["validated", "active"]
        assert log.lines("warn", "was tried in vain: 403; wait for the source")
        assert any("was tried in vain: 403" in line for line in await engine.concerns())
        await engine.later(timedelta(minutes=14))
        assert home.source.count("probe") == 2
        for wait in (1, 30, 60):
            await engine.later(timedelta(minutes=wait))
        assert home.source.count("probe") == 5
        await engine.later(timedelta(minutes=60))
        assert home.source.count("probe") == 5
        assert home.source.count("fetch") == 1
        await refuses(engine.renewer.activate(NAME), "tried in vain")
        home.source.always["probe"] = Trial(ok=True)
        assert (await engine.renewer.probe(NAME)).ok
        assert await engine.states() == ["active", "former"]


@pytest_twisted.ensureDeferred
async def test_an_operator_may_overrule_a_trial(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", answer(issue(home, days=1500)))
        home.source.always["probe"] = Trial(ok=False, text="403")
        await at_its_time(engine)
        await engine.renewer.activate(NAME, anyway=True)
        assert await engine.states() == ["active", "former"]


@pytest_twisted.ensureDeferred
async def test_the_credential_in_use_is_tried_where_there_is_no_new_one(home: Home) -> None:
    async with home.engine() as engine:
        await refuses(engine.renewer.probe(NAME), "no credential that could be tried", "renew import")
        await in_use(engine)
        assert (await engine.renewer.probe(NAME)).ok
        home.source.says("probe", Trial(ok=False, text="it was revoked"))
        assert (await engine.renewer.probe(NAME)).ok is False
        assert await engine.states() == ["active"]


# --- back to the former one -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_former_credential_is_used_again_and_the_new_one_not_by_itself(home: Home, log: Log) -> None:
    home.define(plugin="busy", hook='command = ["/bin/true"]')
    async with home.engine() as engine:
        old = await in_use(engine)
        new = issue(home, days=1500)
        home.source.always["fetch"] = lambda _case: answer(new)
        await at_its_time(engine)
        standing = await engine.renewer.rollback(NAME)
        assert standing.current is not None
        assert standing.current.fingerprint == old.fingerprint
        assert await engine.states() == ["rolled back", "active"]
        assert home.told.events[-1] == ("hook", "rolled back", old.fingerprint, new.fingerprint)
        assert home.source.count("rollback") == 1
        assert standing.taken_back is not None
        assert standing.taken_back.fingerprint == new.fingerprint
        assert log.lines("warn", "the former one is in use again")
        for _ in range(6):
            await engine.later(DAY)
        assert home.source.count("fetch") == 1
        await engine.later(DAY)
        # The source has no other: it is not taken up again, and not asked for again at once.
        assert home.source.count("fetch") == 2
        assert await engine.states() == ["empty", "rolled back", "active"]
        await engine.later(DAY)
        assert home.source.count("fetch") == 2
        taken_back = await engine.candidate(CandidateState.ROLLED_BACK)
        standing = await engine.renewer.activate(NAME, candidate=taken_back.id)
        assert standing.current is not None
        assert standing.current.fingerprint == new.fingerprint
        assert standing.taken_back is None


@pytest_twisted.ensureDeferred
async def test_there_is_no_way_back_to_what_has_ended_or_never_was(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        await refuses(engine.renewer.rollback(NAME), "no former credential")
        home.source.says("fetch", answer(issue(home, days=1500)))
        await at_its_time(engine)
        home.time.go(59 * DAY)
        await refuses(engine.renewer.rollback(NAME), "no former credential")


# --- bringing one -----------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_an_import_is_judged_by_the_same_rules(home: Home) -> None:
    async with home.engine() as engine:
        old = await in_use(engine)
        await refuses(engine.renewer.bring(NAME, Secret(contained(old)), Secret(PASSPHRASE)), "here already")
        shorter = issue(home, days=100)
        await refuses(engine.renewer.bring(NAME, Secret(contained(shorter)), Secret(b"wrong")), "does not open")
        assert await engine.states() == ["active"]
        standing = await engine.renewer.bring(NAME, Secret(contained(shorter)), Secret(PASSPHRASE))
        assert standing.candidate is not None
        assert [problem.key for problem in standing.candidate.problems] == ["ends no later"]
        longer = issue(home, days=800)
        standing = await engine.renewer.bring(NAME, Secret(contained(longer)), Secret(PASSPHRASE))
        assert standing.current is not None
        assert standing.current.fingerprint == longer.fingerprint
        assert await engine.states() == ["active", "superseded", "former"]
        assert home.source.count("fetch") == 0


@pytest_twisted.ensureDeferred
async def test_the_first_credential_is_used_even_where_activation_is_left_to_operators(home: Home) -> None:
    home.define(auto_activate=False)
    async with home.engine() as engine:
        await in_use(engine)


# --- who is told ------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_consumers_are_told_until_they_know_and_keep_nobody_else_waiting(home: Home, log: Log) -> None:
    home.define(plugin="busy", export='folder = "out"', hook='command = ["/bin/true"]')
    home.told.failing["export"] = OperatorError("the disk is full", "make room")
    async with home.engine() as engine:
        home.source.says("activate", OperatorError("the source is away", "wait"))
        issued = await in_use(engine)
        # The hook uses what the export writes.
        assert home.told.events == []
        assert home.source.count("activate") == 1
        assert log.lines("warn", "export could not be told", "the disk is full; make room")
        assert any("export does not know of the change" in line for line in await engine.concerns())
        await engine.later(timedelta(minutes=15))
        assert home.source.count("activate") == 2
        home.told.failing.clear()
        await engine.later(timedelta(minutes=30))
        assert home.told.events == [
            ("export", "activated", issued.fingerprint, ""),
            ("hook", "activated", issued.fingerprint, ""),
        ]
        assert not [line for line in await engine.concerns() if "export" in line]


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_breaks_is_told_again_without_a_word_of_its_exception(home: Home, log: Log) -> None:
    home.define(hook='command = ["/bin/true"]')
    home.told.failing["hook"] = ValueError(PASSWORD)
    async with home.engine() as engine:
        await in_use(engine)
        assert log.lines("error", "hook failed: ValueError")
        assert PASSWORD not in log.text
        home.told.failing.clear()
        await engine.later(timedelta(minutes=15))
        assert [event[0] for event in home.told.events] == ["hook"]


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_was_added_to_the_definition_is_told_of_the_credential_in_use(home: Home) -> None:
    async with home.engine() as engine:
        issued = await in_use(engine)
        home.define(export='folder = "out"')
        await engine.later(timedelta(minutes=1))
        assert home.told.events == [("export", "activated", issued.fingerprint, "")]
        home.define()
        await engine.later(timedelta(minutes=1))
        assert (await engine.renewer.standing(NAME)).tellings == ()


# --- plugins that misbehave -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_plugin_that_breaks_in_any_step_harms_no_other_set(home: Home, log: Log) -> None:
    home.define(NAME, "pharmacy-2", plugin="busy")
    breaking = ("fetch", "stage", "validate", "probe", "activate", "plan", "tend", "status")
    async with home.engine() as engine:
        for step in breaking:
            home.source.says(step, ValueError(PASSWORD), SystemExit(PASSWORD))
        home.source.always["fetch"] = lambda case: answer(issue(home, subject=f"CN={case.name}"))
        for _ in range(12):
            await engine.later(DAY)
        assert await engine.states(NAME) == ["active"]
        assert await engine.states("pharmacy-2") == ["active"]
        assert log.lines("the plugin busy failed in its step 'fetch': ValueError in engine.py:")
        assert PASSWORD not in log.text
        assert PASSWORD not in str(await engine.concerns())
        assert PASSWORD not in str(await engine.renewer.standings())


@pytest_twisted.ensureDeferred
async def test_a_plugin_that_hangs_is_given_up_and_what_it_brings_late_is_kept(home: Home) -> None:
    deaf: Deferred[Any] = Deferred()
    late: Deferred[Any] = Deferred()

    async def careless() -> Any:
        try:
            await deaf
        except CancelledError:
            return await late

    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Deferred.fromCoroutine(careless()))
        current = (await engine.renewer.standing(NAME)).current
        assert current is not None
        home.time.now = current.valid_until - 59 * DAY  # type: ignore[operator]
        await engine.quiet()
        home.time.go(timedelta(hours=1))
        waiting = Deferred.fromCoroutine(engine.renewer.run_due())
        await eventually("the source is asked", partial(_true, lambda: home.source.count("fetch") == 1))
        home.time.timers.advance(600)
        await waiting
        standing = await engine.renewer.standing(NAME)
        assert standing.record.verdict == Verdict.RETRY
        assert "did not end its step 'fetch'" in standing.record.text
        new = issue(home, days=1500)
        late.callback(answer(new))
        await eventually("it is kept", partial(_kept, engine))
        await engine.quiet()
        assert await engine.states() == ["active", "former"]


async def _kept(engine: Engine) -> bool:
    return "answered" in await engine.states()


async def _true(said: Callable[[], bool]) -> bool:
    return said()


@pytest_twisted.ensureDeferred
async def test_what_no_step_may_return_is_told_as_such(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", "a text")
        await at_its_time(engine)
        standing = await engine.renewer.standing(NAME)
        assert standing.record.verdict == Verdict.FATAL
        assert "what is no outcome" in standing.record.text


# --- definitions that change ------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_set_that_is_removed_rests_and_goes_on_when_it_is_defined_again(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", answer(issue(home, days=1500)))

        def removed(_case: Case) -> None:
            home.define("another")
            engine.renewer.reread()

        home.source.says("stage", removed)
        await at_its_time(engine)
        await engine.quiet()
        await refuses(engine.renewer.standing(NAME), "there is no credential set")
        assert log.lines("warn", "it is defined no more")
        assert [each.name for each in await engine.renewer.standings()] == ["another"]
        await engine.later(DAY)
        home.define()
        await engine.later(timedelta(minutes=1))
        assert await engine.states() == ["active", "former"]
        assert home.source.count("fetch") == 1


@pytest_twisted.ensureDeferred
async def test_a_set_whose_definition_is_spoilt_runs_on_as_it_was_and_that_is_said(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.define(contact=17, plugin="scripted")
        await engine.later(timedelta(minutes=1))
        assert log.lines("error", "contact")
        home.source.says("fetch", answer(issue(home, days=1500)))
        await at_its_time(engine)
        assert await engine.states() == ["active", "former"]
        assert any("the definition has a fault" in line for line in await engine.concerns())


@pytest_twisted.ensureDeferred
async def test_a_set_that_never_could_be_read_is_shown_with_its_faults(home: Home) -> None:
    home.define(plugin="nowhere")
    async with home.engine() as engine:
        (standing,) = await engine.renewer.standings()
        assert standing.definition is None
        assert "nowhere" in standing.faults[0]
        await refuses(engine.renewer.run(NAME), "has faults", "nowhere")


# --- plans of plugins -------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_plugin_may_want_a_person_first_and_a_tan_is_the_way_out(home: Home) -> None:
    home.define(plugin="manual")
    async with home.engine() as engine:
        await engine.later(DAY)
        assert home.source.count("fetch") == 0
        (line,) = await engine.concerns()
        assert "there is none in use; give a TAN" in line
        await refuses(engine.renewer.run(NAME), "there is none in use", "give a TAN")
        home.source.says("fetch", answer(issue(home)))
        await engine.renewer.run(NAME, tan=Secret("12345678"))
        assert await engine.states() == ["active"]
        assert not await engine.concerns()


@pytest_twisted.ensureDeferred
async def test_a_plugin_is_asked_once_a_day_what_else_its_source_wants(home: Home) -> None:
    home.define(plugin="busy")
    async with home.engine() as engine:
        await in_use(engine)
        for _ in range(48):
            await engine.later(timedelta(hours=1))
        assert home.source.count("tend") == 2
        # People are told when its source is asked for a new one, and not of this.
        standing = await engine.renewer.standing(NAME)
        assert standing.next_at is not None
        assert standing.left is not None
        assert standing.left - 60 * DAY <= standing.next_at - home.time.now <= standing.left - 59 * DAY
        home.source.says("tend", Refusal(verdict=Verdict.AUTH_FAILED, text="the new password is no good"))
        await engine.later(DAY)
        await engine.later(3 * DAY)
        assert home.source.count("tend") == 3
        assert (await engine.renewer.standing(NAME)).record.blocked == Verdict.AUTH_FAILED


# --- what is warned of ------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_nobody_is_given_something_to_do_while_the_source_is_asked_in_time(home: Home) -> None:
    home.define()
    async with home.engine() as engine:
        await in_use(engine)
        home.source.always["fetch"] = lambda _case: Refusal(verdict=Verdict.NOT_YET)
        await at_its_time(engine)
        standing = await engine.renewer.standing(NAME)
        assert standing.phase is Phase.DUE
        assert to_do(standing) == []
        assert any("the source is asked on" in line for line in await engine.concerns())
        await engine.later(31 * DAY)
        standing = await engine.renewer.standing(NAME)
        assert standing.phase is Phase.ALARM
        assert ["ask why there is no successor yet" in each.advice for each in to_do(standing)] == [True]


@pytest_twisted.ensureDeferred
async def test_what_comes_first_is_the_only_advice(home: Home) -> None:
    home.define()
    async with home.engine() as engine:
        home.source.says("fetch", Refusal(verdict=Verdict.FATAL, advice="mend it"), Refusal(verdict=Verdict.LOCKED))
        assert ["'oftp2d renew run" in each.advice for each in to_do(await engine.renewer.standing(NAME))] == [True]
        assert [each.advice for each in to_do(await engine.renewer.run(NAME))] == ["mend it"]
        assert ["blocked" in each.text for each in to_do(await engine.renewer.run(NAME))] == [True]


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_credential_is_told_in_steps_whatever_the_source_says(home: Home) -> None:
    home.define(contact="edi@company.example")
    async with home.engine() as engine:
        await in_use(engine)
        keys: list[str] = []
        for _ in range(732):
            home.time.go(DAY)
            found = await engine.context.workers.database(lambda: list(engine.renewer.concerns(home.time.now)))
            keys += [each.key for each in found if " ends " in each.key and each.key not in keys]
            assert all("(contact: edi@company.example)" in each.line for each in found)
        assert [key.rpartition(" ")[2] for key in keys] == ["60", "30", "7", "1", "over"]


@pytest_twisted.ensureDeferred
async def test_that_a_source_keeps_a_successor_for_a_while_only_is_told_in_time(home: Home) -> None:
    home.define(terms="store_days = 30")
    async with home.engine() as engine:
        await in_use(engine)
        told: dict[str, float] = {}
        for left in (61, 59, 38, 36, 31, 29, 10, -1):
            await at_its_time(engine, left=left)
            said = " ".join(await engine.concerns())
            for words in ("only (store_days)", "and it was not fetched"):
                if words in said:
                    told.setdefault(words, left)
        assert told == {"only (store_days)": 36, "and it was not fetched": 29}
        assert "store_days" not in " ".join(await engine.concerns())


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_credential_is_told_also_where_its_definition_cannot_be_read(home: Home) -> None:
    async with home.engine() as engine:
        await in_use(engine, days=20)
    (home.folder / "renewal" / "sets.toml").write_text(f'[[set]]\nname = "{NAME}"\nplugin = 7\n', encoding="utf-8")
    async with home.engine() as engine:
        (standing,) = await engine.renewer.standings()
        assert (standing.definition, standing.phase.value) == (None, "alarm")
        assert any(
            "less than 21 days" in line and "nothing follows it by itself" in line for line in await engine.concerns()
        )
        home.time.go(21 * DAY)
        (standing,) = await engine.renewer.standings()
        assert standing.phase.value == "expired"


@pytest_twisted.ensureDeferred
async def test_monitoring_sees_every_set(home: Home) -> None:
    home.define(NAME, "pharmacy-2")
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", Refusal(verdict=Verdict.LOCKED))
        await engine.renewer.run("pharmacy-2")
        gauges = await engine.context.workers.database(lambda: list(engine.renewer.gauges(home.time.now)))
        found = {gauge.name.removeprefix("oftp2d_credential_"): dict(gauge.values) for gauge in gauges}
        assert found["days_left"] == {(NAME,): 730.0}
        assert found["phase"] == {(NAME, "valid"): 1, ("pharmacy-2", "none"): 1}
        assert found["blocked"] == {(NAME,): 0.0, ("pharmacy-2",): 1.0}
        assert found["attempts_today"] == {(NAME,): 0, ("pharmacy-2",): 1}
        assert found["last_attempt_age_seconds"] == {("pharmacy-2",): 0.0}


# --- several processes, and the end -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_two_processes_never_ask_a_source_together(home: Home) -> None:
    asked: Deferred[Any] = Deferred()
    home.source.says("fetch", asked)
    async with home.engine("here/1/a") as one, home.engine("there/2/b") as other:
        first = Deferred.fromCoroutine(one.renewer.run(NAME))
        await eventually("the source is asked", partial(_true, lambda: home.source.count("fetch") == 1))
        await refuses(other.renewer.run(NAME), "another process works on it")
        await other.later(timedelta(minutes=9))
        assert home.source.count("fetch") == 1
        asked.callback(answer(issue(home)))
        await first
        assert (await other.renewer.run(NAME)).current is not None
        assert home.source.count("fetch") == 2


@pytest_twisted.ensureDeferred
async def test_what_an_operator_asks_for_waits_for_what_is_under_way(home: Home) -> None:
    asked: Deferred[Any] = Deferred()
    async with home.engine() as engine:
        await in_use(engine)
        home.source.says("fetch", asked)
        first = Deferred.fromCoroutine(engine.renewer.run(NAME))
        await eventually("the source is asked", partial(_true, lambda: home.source.count("fetch") == 1))
        second = Deferred.fromCoroutine(engine.renewer.rollback(NAME))
        asked.callback(answer(issue(home, days=1500)))
        await first
        assert (await second).current is not None
        assert await engine.states() == ["rolled back", "active"]


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_the_step_in_hand_and_begins_no_other(home: Home) -> None:
    asked: Deferred[Any] = Deferred()
    home.source.says("fetch", asked)
    new = issue(home)
    async with home.engine() as engine:
        running = Deferred.fromCoroutine(engine.renewer.run(NAME))
        await eventually("the source is asked", partial(_true, lambda: home.source.count("fetch") == 1))
        stopped = Deferred.fromCoroutine(engine.renewer.stop())
        assert not stopped.called
        asked.callback(answer(new))
        await stopped
        await running
        assert await engine.states() == ["answered"]
    async with home.engine() as engine:
        assert await engine.states() == ["active"]
        assert home.source.count("fetch") == 1
        assert (await engine.renewer.standing(NAME)).record.verdict == Verdict.FETCHED


@pytest_twisted.ensureDeferred
async def test_the_end_gives_up_a_step_that_takes_too_long(home: Home) -> None:
    home.source.says("fetch", Deferred())
    async with home.engine() as engine:
        running = Deferred.fromCoroutine(engine.renewer.run(NAME))
        await eventually("the source is asked", partial(_true, lambda: home.source.count("fetch") == 1))
        stopped = Deferred.fromCoroutine(engine.renewer.stop())
        home.time.timers.advance(30)
        await stopped
        await running
    async with home.engine() as engine:
        assert (await engine.renewer.standing(NAME)).record.verdict == Verdict.RETRY


@pytest_twisted.ensureDeferred
async def test_an_attempt_that_nobody_came_back_from_is_not_made_again_at_once(home: Home, log: Log) -> None:
    async with home.engine() as engine:
        await in_use(engine)
        home.time.go(700 * DAY)
        sets = engine.ledger.credential_sets
        now = home.time.now
        await engine.context.workers.database(sets.claim, NAME, "dead/1/x", now, now)
        await engine.context.workers.database(sets.begin_attempt, NAME, "dead/1/x", "attempt", now, now + DAY / 2)
    async with home.engine() as engine:
        record = (await engine.renewer.standing(NAME)).record
        assert record.verdict == Verdict.RETRY
        assert "not known how the attempt ended" in record.text
        assert home.source.count("fetch") == 0
        await engine.later(DAY / 2)
        assert home.source.count("fetch") == 1
