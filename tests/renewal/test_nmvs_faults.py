"""What goes wrong at the stand-in, and where the real plugin and the real engine end up: point 8 of nmvs.md 8.3.

``fixtures/nmvs-faults.csv`` says it as data, from which the reference is made too: how the attempt is concluded, what becomes of
what came, and in what words. Nothing of it touches the certificate in use.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

from oftp2d.ledger import CandidateState
from oftp2d.renewal.interface import Verdict
from tests import pki
from tools.nmvs.faults import Fault
from tools.nmvs.standin import StandIn

if TYPE_CHECKING:
    from tests.renewal.site import Site

V, S = Verdict, CandidateState
_numbers = count(1)


@dataclass(frozen=True)
class Ends:
    """Where a fault leads."""

    verdict: Verdict
    state: CandidateState | None
    """Of what came; None where nothing did."""
    words: str
    """In what people are told."""
    code: str = ""

    @property
    def blocked(self) -> str:
        return self.verdict if self.verdict in {V.AUTH_FAILED, V.LOCKED} else ""


with (Path(__file__).parents[2] / "fixtures" / "nmvs-faults.csv").open(encoding="utf-8", newline="") as _file:
    _ROWS = list(csv.DictReader(_file))


def _ends(row: dict[str, str]) -> Ends:
    state = S(row["kept"]) if row["kept"] else None
    return Ends(V(row["verdict"]), state, row["says"], row["code"])


ENDS = {Fault(row["fault"]): _ends(row) for row in _ROWS if row["fault"] != Fault.CODE}
"""All faults but those of a code, and TWO_CODES, of which the first counts."""
CODES = {row["code"]: _ends(row) for row in _ROWS if row["fault"] == Fault.CODE}
"""The codes of nmvs.md section 4 that a request for a certificate may meet, and some that nobody knows."""


@pytest_twisted.async_yield_fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory, opened_once: None) -> AsyncIterator[tuple[StandIn, Site]]:
    """One stand-in and one site for all faults: each has a credential set of its own."""
    from twisted.internet import reactor

    from tests.exchange.station import watching
    from tests.renewal.site import BEGIN, Site

    folder = tmp_path_factory.mktemp("faults")
    (folder / "home").mkdir()
    standin = StandIn(reactor, folder / "standin", now=BEGIN, new_key=pki.new_key)
    await standin.start()
    with watching():
        site = await Site(folder / "home", standin).start()
        site.profile()
        site.profile("hasty", more="connect_seconds = 1\nread_seconds = 1\ntotal_seconds = 1\n")
        yield standin, site
        await site.stop()
    await standin.stop()


def test_8_every_fault_has_its_end() -> None:
    assert set(ENDS) == set(Fault) - {Fault.CODE, Fault.TWO_CODES}


@pytest.mark.parametrize("fault", ENDS)
@pytest_twisted.ensureDeferred
async def test_8_a_fault_ends_in_a_named_state(town: tuple[StandIn, Site], fault: Fault) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name, ends = f"fault-{next(_numbers)}", ENDS[fault]
    await site.holds(name, aged=DUE, profile="hasty" if fault is Fault.HANG else "standin")
    before = standin.counters()
    standin.faults.on(fault, calls=1)
    await site.attend()
    # Nothing more is due at this time, whatever happened.
    await site.attend()
    found, after = await site.standing(name), standin.counters()
    told = " ".join([found.record.text, *(problem.text for problem in (await site.newest(name)).problems)])

    assert (found.record.verdict, found.record.code) == (ends.verdict, ends.code)
    assert await site.states(name) == [S.ACTIVE, *([ends.state] if ends.state else [])]
    assert (found.record.blocked, ends.words in told) == (ends.blocked, True), told
    assert after["requests: G615"] - before.get("requests: G615", 0) == 1
    assert after["authentications"] - before["authentications"] == 1
    assert found.next_at
    # For another one than that which was refused the source has time; whatever else there was is asked again the next day.
    most = timedelta(days=7 if ends.state is S.REFUSED else 1)
    assert timedelta() < found.next_at - found.now <= most
    await site.undefine(name)


@pytest.mark.parametrize(
    "fault", [Fault.HTTP_503, Fault.CUT_OFF, Fault.HTML, Fault.ENTITY_BOMB, Fault.WRONG_PASSPHRASE]
)
@pytest_twisted.ensureDeferred
async def test_8_when_the_fault_has_passed_the_next_attempt_brings_the_certificate(
    town: tuple[StandIn, Site], fault: Fault
) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name = f"fault-{next(_numbers)}"
    await site.holds(name, aged=DUE)
    standin.faults.on(fault, calls=1)
    await site.attend()
    await site.live(1)
    await site.live(1)
    states = await site.states(name)

    assert [states[0], states[-1]] == [S.FORMER, S.ACTIVE]
    await site.undefine(name)


@pytest_twisted.ensureDeferred
async def test_8_of_two_codes_the_first_counts(town: tuple[StandIn, Site]) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name = f"fault-{next(_numbers)}"
    await site.holds(name, aged=DUE)
    standin.faults.on(Fault.TWO_CODES, calls=1)
    await site.attend()

    assert await site.states(name) == [S.FORMER, S.ACTIVE]
    await site.undefine(name)


@pytest_twisted.ensureDeferred
async def test_8_every_code_has_its_reaction(town: tuple[StandIn, Site]) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name = f"fault-{next(_numbers)}"
    await site.holds(name, aged=DUE)
    found = {}
    for code, ends in CODES.items():
        standin.faults.on(Fault.CODE, calls=1, code=code)
        standing = await site.renewer.run(name)
        record, newest = standing.record, await site.newest(name)
        assert ends.words in record.text, (code, record.text)
        assert record.code == code
        assert record.blocked == ends.blocked, code
        found[code] = (Verdict(record.verdict), newest.state)
        if record.blocked:
            assert record.blocked_advice, code
            await site.renewer.unblock(name)
    await site.undefine(name)

    assert found == {code: (ends.verdict, ends.state) for code, ends in CODES.items()}


@pytest_twisted.ensureDeferred
async def test_8_an_account_locked_by_others_is_left_alone_for_days(town: tuple[StandIn, Site]) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name = f"fault-{next(_numbers)}"
    await site.holds(name, aged=DUE)
    before = standin.counters()["authentications"]
    standin.faults.on(Fault.CODE, calls=1, code="NMVS_FE_AU_05")
    await site.attend()
    await site.live(10)
    assert standin.counters()["authentications"] == before + 1
    await site.renewer.unblock(name)
    await site.attend()

    assert (await site.states(name))[-1] is S.ACTIVE
    await site.undefine(name)


@pytest_twisted.ensureDeferred
async def test_8_a_frequency_that_is_exceeded_is_followed_by_a_long_silence(town: tuple[StandIn, Site]) -> None:
    from tests.renewal.site import DUE

    standin, site = town
    name = f"fault-{next(_numbers)}"
    # In the critical phase, where it would be asked six times a day.
    await site.holds(name, aged=DUE + timedelta(days=55))
    standin.faults.on(Fault.CODE, calls=1, code="NMVS_FI_SE_CLI_01")
    await site.attend()
    found = await site.standing(name)
    await site.undefine(name)

    assert found.next_at
    assert found.next_at - found.now >= timedelta(hours=12)


@pytest_twisted.ensureDeferred
async def test_8_a_transaction_is_never_used_twice(town: tuple[StandIn, Site]) -> None:
    standin, _ = town
    used = [each.transaction for each in standin.seen if each.transaction]

    assert len(used) == len(set(used)) > len(ENDS)
    assert "NMVS_TE_TX_01" not in {each.code for each in standin.seen if not each.fault}
