"""What is to come for certificates: ends, gaps, overlaps, and the roll-over from one to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from oftp2.certs.usages import Usage
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Slot, StoredCertificate
from oftp2d.planning import Concern, concerns, predecessor, rollover
from tests import pki

NOW = pki.NOW.replace(microsecond=0)
DAY = timedelta(days=1)
OURS, THEIRS = "O0013000002TESTB", "O0013000001TESTA0"
CODES = {1: THEIRS}
SIGNS = frozenset({Usage.SIGNATURE})
ISSUED = pki.certificate("CA01").der
_ids = count(1)


def entry(alias: str, begins: float = -300, ends: float = 300, **changes: Any) -> StoredCertificate:
    values: dict[str, Any] = {
        "id": next(_ids),
        "fingerprint": alias.ljust(64, "0"),
        "der": ISSUED,
        "holder": Holder.OWN,
        "station": OURS,
        "alias": alias,
        "usages": frozenset(Usage),
        "valid_from": NOW + begins * DAY,
        "valid_until": NOW + ends * DAY,
        "added_at": NOW,
    }
    return StoredCertificate(**(values | changes))


def theirs(alias: str, *period: float, **changes: Any) -> StoredCertificate:
    return entry(alias, *period, holder=Holder.PARTNER, partner_id=1, station=THEIRS, **changes)


def look(*entries: StoredCertificate, days: float = 0, renewing: frozenset[str] = frozenset()) -> list[Concern]:
    return concerns(entries, CODES, NOW + days * DAY, renewing=renewing)


def lines(*entries: StoredCertificate, days: float = 0) -> list[str]:
    return [concern.line for concern in look(*entries, days=days)]


# --- ends ----------------------------------------------------------------------------------------------


def test_an_end_is_told_sixty_thirty_seven_and_one_days_before_each_time_anew() -> None:
    ours = entry("ours", ends=100)
    assert look(ours, days=39.9) == []
    keys = [look(ours, days=days)[0].key for days in (40, 69, 70, 92, 93, 98, 99, 99.9, 101, 200)]
    steps = [int(key.rsplit(" ", 1)[1]) for key in keys]
    assert steps == [60, 60, 30, 30, 7, 7, 1, 1, 0, 0]


def test_an_end_says_whose_it_is_when_and_what_to_do() -> None:
    ends = f"{NOW + 20 * DAY:%Y-%m-%d}"
    assert lines(entry("ours", ends=20)) == [
        f"the own certificate ours ends on {ends} (in 20 days); get its successor with 'oftp2d cert generate'"
    ]
    assert lines(theirs("a0.test", -300, 20))[0].startswith(
        f"the partner certificate a0.test of {THEIRS} ends on {ends}"
    )
    assert "(in 12 hours)" in lines(entry("ours", ends=0.5))[0]
    assert "the own certificate ours has ended on " in lines(entry("ours", ends=-2))[0]


@pytest.mark.parametrize("unused", [{"active": False}, {"slot": Slot.PREVIOUS}, {"slot": Slot.WITHDRAWN}])
def test_the_end_of_what_is_not_used_is_no_concern(unused: dict[str, Any]) -> None:
    assert look(entry("ours", ends=5, **unused)) == []


def test_the_end_of_a_certificate_that_is_followed_for_all_it_does_is_no_concern() -> None:
    old = entry("old", ends=20, slice_until=NOW + DAY)
    assert look(old, entry("new", -1, 300, slice_from=NOW + DAY)) == []
    (left,) = look(old, entry("new", -1, 300, usages=SIGNS, slice_from=NOW + DAY))[:1]
    assert "there is no certificate" in left.text or "old ends" in left.text
    late = look(entry("old", ends=20), entry("new", 25, 300))
    assert {concern.key.split()[0] for concern in late} == {"end", "gap"}


def test_one_that_vouches_for_itself_follows_none_that_an_authority_issued() -> None:
    made = pki.make(subject="CN=self").der
    at = NOW + DAY
    ending, longer = entry("issued", ends=20, slice_until=at), entry("self", -1, 300, slice_from=at, der=made)
    assert [concern.key.split()[0] for concern in look(ending, longer)] == ["end"]
    assert look(entry("self too", ends=20, slice_until=at, der=made), longer) == []


def test_an_older_certificate_or_one_whose_timeslice_is_over_follows_none_however_long_it_lasts() -> None:
    ours = entry("ours", -10, 20)
    assert any("ours ends on" in line for line in lines(entry("older", -11, 300), ours))
    assert any("ours ends on" in line for line in lines(ours, entry("newer", -5, 300, slice_until=NOW + DAY)))
    assert not any("ours ends on" in line for line in lines(ours, entry("newer", -5, 300)))


def test_an_authority_is_followed_by_a_newer_one_of_its_name() -> None:
    def authority(alias: str, made: pki.Issued, ends: float, holder: Holder = Holder.ANCHOR) -> StoredCertificate:
        return entry(alias, ends=ends, der=made.der, holder=holder, station=None, usages=frozenset())

    ending = authority("ending", pki.issuing("A"), 20)
    assert len(look(ending)) == 1
    assert len(look(ending, authority("another", pki.issuing("B"), 300))) == 1
    assert look(ending, authority("newer", pki.issuing("A"), 300)) == []
    (told,) = lines(authority("between", pki.root("A"), 20, Holder.INTERMEDIATE))
    assert told.startswith("the intermediate certificate between ends on")


# --- gaps ----------------------------------------------------------------------------------------------


def test_a_gap_between_timeslices_is_told_before_it_begins() -> None:
    old, new = entry("old", slice_until=NOW + 5 * DAY), entry("new", slice_from=NOW + 6 * DAY)
    (gap,) = look(old, new)
    assert gap.at == NOW + 5 * DAY
    assert gap.text.startswith(
        f"from {NOW + 5 * DAY:%Y-%m-%dT%H:%M:%SZ} (in 5 days) until {NOW + 6 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    )
    assert f"there is no certificate of ours for {OURS} for everything" in gap.text
    (now,) = look(old, new, days=5.5)
    assert now.text.startswith("since ")
    assert look(old, new, days=6) == []


def test_a_timeslice_that_ends_with_nothing_behind_it_is_a_gap() -> None:
    (gap,) = look(theirs("a0.test", slice_until=NOW + 5 * DAY, usages=SIGNS))
    assert gap.text.endswith(f"on there is no certificate of {THEIRS} for {THEIRS} for signature")


def test_gapless_timeslices_leave_no_gap_and_no_overlap() -> None:
    at = NOW + 5 * DAY
    assert look(entry("old", -300, 200, slice_until=at), entry("new", -1, 300, slice_from=at)) == []


def test_a_certificate_for_every_station_fills_the_gap_of_one() -> None:
    sliced = entry("station's", slice_until=NOW + 5 * DAY)
    assert look(sliced, entry("everyone's", station=None)) == []
    assert len(look(sliced)) == 1


def test_a_gap_of_all_stations_of_a_partner_names_the_partner() -> None:
    (gap,) = look(replace(theirs("a0.test", slice_until=NOW + DAY), station=None))
    assert f"there is no certificate of {THEIRS} for everything" in gap.text


def test_what_is_not_used_yet_is_no_gap() -> None:
    assert look(entry("new", 5, 300)) == []


# --- overlaps ------------------------------------------------------------------------------------------


def test_two_that_may_be_used_at_the_same_time_are_named_with_what_to_do() -> None:
    old, new = entry("old", -300, 100), entry("new", -1, 300, usages=SIGNS)
    (overlap,) = look(old, new)
    assert overlap.text == (
        f"the own certificate old and new may both be used from {NOW - DAY:%Y-%m-%d} to {NOW + 100 * DAY:%Y-%m-%d}"
        " for signature, one of them is taken: see 'oftp2d cert explain'"
    )
    assert overlap.advice == "part them with 'oftp2d cert rollover old new'"


def test_those_of_different_stations_usages_or_times_do_not_overlap() -> None:
    ours = entry("ours", usages=SIGNS)
    assert look(ours, entry("another station's", station="O0013000002SUB", usages=SIGNS)) == []
    assert look(ours, entry("for all stations", station=None, usages=SIGNS)) == []
    assert look(ours, entry("to encrypt", usages=frozenset({Usage.ENCRYPTION}))) == []
    assert look(theirs("a0.test", usages=SIGNS), ours) == []
    ended = entry("ended", -300, -1)
    assert look(ended, entry("new", -10, 300)) == []


def test_those_under_renewal_overlap_on_purpose() -> None:
    old, new = entry("old"), entry("new", -1, 400)
    assert look(old, new, renewing=frozenset({old.fingerprint, new.fingerprint})) == []


# --- roll-over -----------------------------------------------------------------------------------------


def test_a_rollover_lies_in_the_middle_of_what_is_left_of_the_overlap() -> None:
    at, (begins, ends) = rollover(entry("old", ends=14), entry("new", -4, 365), NOW)
    assert (at, begins, ends) == (NOW + 7 * DAY, NOW - 4 * DAY, NOW + 14 * DAY)


def test_a_rollover_may_be_at_any_time_of_the_overlap_and_at_no_other() -> None:
    old, new = entry("old", ends=14), entry("new", 2, 365)
    for days in (2, 13.9):
        assert rollover(old, new, NOW, NOW + days * DAY)[0] == NOW + days * DAY
    for days in (1.9, 14.0):
        with pytest.raises(OperatorError, match=r"is not inside of the overlap: choose a time from .* to "):
            rollover(old, new, NOW, NOW + days * DAY)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (entry("old", ends=14), entry("new", 15, 365), "are not valid together"),
        (entry("old", ends=-1), entry("new", -10, 365), "are not valid together"),
        (entry("old", -10), entry("new", -20), "new does not follow old"),
        (entry("old", station="O0013000002SUB"), entry("new", -1), "not for the same station"),
        (theirs("old"), entry("new", -1), "not for the same station"),
        (entry("old", usages=SIGNS), entry("new", -1, usages=frozenset({Usage.ENCRYPTION})), "no use in common"),
    ],
)
def test_what_can_not_be_rolled_over_is_said(old: StoredCertificate, new: StoredCertificate, why: str) -> None:
    with pytest.raises(OperatorError, match=why):
        rollover(old, new, NOW)


def test_the_predecessor_is_the_newest_of_the_station_for_a_use_in_common() -> None:
    older, old, new = entry("older", -300), entry("old", -200, usages=SIGNS), entry("new", -1, 400)
    assert predecessor(new, [older, old, new]) is old
    assert predecessor(new, [entry("sub", station="O0013000002SUB"), theirs("a0.test"), new]) is None
    assert predecessor(old, [new]) is None
    began_with = entry("self", -1, 400, der=pki.make(subject="CN=self").der)
    dated_back = entry("dated back", -2, 300)
    assert predecessor(dated_back, [began_with]) is began_with
    assert predecessor(dated_back, [began_with, older, old]) is old
    assert predecessor(began_with, [dated_back]) is dated_back
    assert predecessor(new, [entry("off", active=False), entry("gone", slot=Slot.WITHDRAWN)]) is None


def test_the_instants_of_concerns_put_them_in_order() -> None:
    found = look(entry("later", ends=50), theirs("a0.test", -300, 10), theirs("past", -300, -5, usages=SIGNS))
    instants: list[datetime] = [concern.at for concern in found]
    assert instants == sorted(instants)
    assert len(instants) > 1
