"""Chapter 4.6, roll-over and replacement: a new certificate beside the old one, or in its place, also under another subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import pytest
import pytest_twisted

from oftp2d.ledger import ExchangeState, Slot
from tests.odette.pair import Pair


class Case(NamedTuple):
    """A certificate that follows another one."""

    new: str
    old: str
    station: Literal["a", "b"] = "a"
    command: Literal["deliver", "recall"] = "deliver"


CASES = (
    Case("CA02", "CA01"),
    Case("CA03", "CA01", command="recall"),
    Case("CA04", "CA01"),
    Case("CA07", "CA04"),
    Case("CA08", "CA04", command="recall"),
    Case("CA13", "CA08", command="recall"),
    Case("CA14", "CA13", command="recall"),
    Case("CB04", "CB01", "b", "recall"),
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.new, marks=pytest.mark.odette(f"4.6 {case.new}")) for case in CASES]
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_is_followed_by_another_and_files_go_on_under_the_new_one(
    case: Case, make: Callable[..., Pair]
) -> None:
    two = make(**{case.station: case.old})
    two.acquaint()
    await two.start()
    owner = two.a if case.station == "a" else two.b
    partner = two.other(owner)
    new = two.certificate(case.new)
    await two.bring(owner, new)
    assert (await two.exchange(owner, case.command, new)).state is ExchangeState.ACCEPTED
    kept = Slot.PREVIOUS if case.command == "deliver" else Slot.WITHDRAWN
    assert await two.held(partner) == {Slot.CURRENT: two.prints(case.new), kept: two.prints(case.old)}
    of_a, of_b = await two.files_both_ways()
    ours, theirs = (of_a, of_b) if owner is two.a else (of_b, of_a)
    assert set(ours.signers) == two.prints(case.new)
    assert set(theirs.recipients) == two.prints(case.new)


@pytest.mark.odette("4.6 overlapping")
@pytest_twisted.ensureDeferred
async def test_what_was_signed_and_encrypted_under_the_old_certificate_is_good_after_its_roll_over(two: Pair) -> None:
    two.acquaint()
    await two.start()
    await two.bring(two.a, two.certificate("CA02"))
    # A file of each side is signed or encrypted under CA01 and waits while CA02 goes before it: messages go first.
    names = [(station, await two.send(station)) for station in (two.a, two.b)]
    for station, name in names:
        await two.secured(station, name)
    assert (await two.exchange(two.a, "deliver", two.certificate("CA02"))).state is ExchangeState.ACCEPTED
    for station, name in names:
        arrived = await two.arrived(two.other(station), name)
        assert two.certificate("CA01").fingerprint in {*arrived.signers, *arrived.recipients}


@pytest.mark.odette("4.6 overlapping")
@pytest_twisted.ensureDeferred
async def test_a_partner_that_has_not_got_the_new_certificate_is_served_under_the_old_one(two: Pair) -> None:
    two.acquaint()
    await two.start()
    await two.bring(two.a, two.certificate("CA02"))
    of_a, of_b = await two.files_both_ways()
    assert set(of_a.signers) == set(of_b.recipients) == two.prints("CA01")


@pytest.mark.odette("4.6 replacing")
@pytest_twisted.ensureDeferred
async def test_a_replaced_certificate_never_comes_back(two: Pair) -> None:
    two.acquaint()
    await two.start()
    await two.bring(two.a, two.certificate("CA03"))
    assert (await two.exchange(two.a, "recall", two.certificate("CA03"))).state is ExchangeState.ACCEPTED
    again = await two.exchange(two.a, "deliver", two.certificate("CA01"))
    assert again.state is ExchangeState.REFUSED
    assert "withdrawn" in again.text
    assert (await two.held(two.b))[Slot.CURRENT] == two.prints("CA03")
