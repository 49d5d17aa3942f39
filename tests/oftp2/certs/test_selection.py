"""Which certificate is used when, row by row of certificate-selection.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from oftp2.certs import selection
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Entry, Selection, Situation, select, to_deliver
from oftp2.certs.usages import Usage
from tests import pki

NOW = pki.NOW
DAY = timedelta(days=1)
BASE = CertificateFacts.of(pki.certificate("CA01").der)
OUTBOUND = [
    selection.SIGNING,
    selection.ENCRYPTION,
    selection.EERP_SIGNING,
    selection.CHALLENGE,
    selection.TLS_SERVER,
    selection.TLS_CLIENT,
]
VERIFYING = [selection.VERIFICATION, selection.EERP_VERIFICATION]
OPENING = [selection.DECRYPTION, selection.CHALLENGE_ANSWER]


def entry(
    mark: str,
    *,
    begins: float = -10,
    ends: float = 100,
    usages: frozenset[Usage] = frozenset(Usage),
    alias: str = "STATION",
    active: bool = True,
    slice_: tuple[datetime | None, datetime | None] = (None, None),
) -> Entry:
    facts = replace(BASE, fingerprint=mark * 64, not_before=NOW + begins * DAY, not_after=NOW + ends * DAY)
    return Entry(facts=facts, usages=usages, alias=alias, active=active, slice_from=slice_[0], slice_until=slice_[1])


def choose(situation: Situation, *entries: Entry, **options: object) -> Selection:
    chosen: Selection | None = None
    for order in permutations(entries):
        found = select(situation, order, station="STATION", party="us@party", now=NOW, **options)  # type: ignore[arg-type]
        assert chosen is None or found.entries == chosen.entries, "the answer depends on storage order"
        chosen = found
    assert chosen is not None
    return chosen


def marks(found: Selection) -> str:
    return "".join(item.facts.fingerprint[0] for item in found.entries)


@pytest.mark.parametrize("situation", OUTBOUND + VERIFYING + OPENING)
def test_inactive_and_invalid_entries_are_never_used(situation: Situation) -> None:
    found = choose(situation, entry("a", active=False), entry("b", ends=-1), entry("c", begins=1))
    assert found.taken is None
    assert "inactive" in found.text
    assert "outside validity" in found.text


@pytest.mark.parametrize("situation", OUTBOUND + VERIFYING + OPENING)
def test_a_barred_entry_is_used_for_nothing_and_the_account_says_why(situation: Situation) -> None:
    revoked = replace(entry("a", begins=-1), barred="revoked on 2026-01-02 by CN=Authority")
    found = choose(situation, revoked, entry("b", begins=-20), confirmed={"a" * 64})
    assert marks(found) == "b"
    assert f"{'a' * 16}: revoked on 2026-01-02 by CN=Authority" in found.text.splitlines()
    assert found.barred == f"{BASE.subject}: revoked on 2026-01-02 by CN=Authority"
    assert choose(situation, revoked).taken is None


def test_a_barred_entry_is_not_delivered() -> None:
    revoked = replace(entry("a"), barred="revoked on 2026-01-02 by CN=Authority")
    assert to_deliver([revoked, entry("b", begins=-20)], station="STATION", now=NOW) == (entry("b", begins=-20),)


@pytest.mark.parametrize("situation", OUTBOUND)
def test_outbound_takes_the_newest_of_the_right_usage_and_alias(situation: Situation) -> None:
    assert situation.usage is not None
    found = choose(
        situation,
        entry("a", begins=-20),
        entry("b", begins=-5),
        entry("c", begins=-1, usages=frozenset(Usage) - {situation.usage}),
        entry("d", begins=-1, alias="OTHER"),
    )
    assert marks(found) == "b"
    whys = {item.entry.facts.fingerprint[0]: item.why for item in found.considered}
    assert whys == {
        "a": "older",
        "b": "taken",
        "c": f"not for {situation.usage.value}",
        "d": "alias is OTHER",
    }


def test_the_oldest_may_be_asked_for() -> None:
    found = choose(selection.SIGNING, entry("a", begins=-20), entry("b", begins=-5), oldest=True)
    assert marks(found) == "a"
    assert "newer" in found.text


def test_a_station_alias_beats_a_party_alias_before_age_is_asked() -> None:
    found = choose(selection.SIGNING, entry("a", begins=-20), entry("b", alias="us@party"))
    assert marks(found) == "a"
    assert "alias us@party gives way to STATION" in found.text


def test_a_party_alias_serves_a_station_that_has_none() -> None:
    assert marks(choose(selection.SIGNING, entry("b", alias="us@party"))) == "b"
    assert select(selection.SIGNING, [entry("b", alias="us@party")], station="STATION", now=NOW).taken is None


def test_equal_age_is_settled_by_end_and_then_by_fingerprint() -> None:
    assert marks(choose(selection.SIGNING, entry("a", ends=50), entry("b", ends=60), entry("c", ends=40))) == "b"
    assert marks(choose(selection.SIGNING, entry("a"), entry("c"), entry("b"))) == "c"


def test_timeslices_are_half_open_and_switch_without_a_gap() -> None:
    old = entry("a", begins=-20, slice_=(None, NOW))
    new = entry("b", begins=-5, slice_=(NOW, None))
    assert marks(choose(selection.SIGNING, old, new)) == "b"
    before = select(selection.SIGNING, [old, new], station="STATION", now=NOW - timedelta(seconds=1))
    assert marks(before) == "a"
    assert "outside its timeslice" in before.text


@pytest.mark.parametrize("situation", VERIFYING)
def test_verification_ignores_timeslices_and_tries_all_of_the_usage(situation: Situation) -> None:
    assert situation.usage is not None
    found = choose(
        situation,
        entry("a", begins=-20, slice_=(None, NOW - DAY)),
        entry("b"),
        entry("c", usages=frozenset({Usage.ENCRYPTION})),
        entry("d", alias="OTHER"),
        named="a" * 64,
    )
    assert marks(found) == "ab"
    assert "tried as number 2" in found.text


@pytest.mark.parametrize("situation", VERIFYING + OPENING)
def test_a_withdrawn_entry_serves_only_what_came_before_it_was_withdrawn(situation: Situation) -> None:
    before, at = (replace(entry(mark), withdrawn_at=NOW + later * DAY) for mark, later in (("a", 1), ("b", 0)))
    found = choose(situation, before, at, entry("c"))
    assert set(marks(found)) == {"a", "c"}
    assert "withdrawn only later" in found.text
    assert f"withdrawn on {NOW:%Y-%m-%d}" in found.text


@pytest.mark.parametrize("situation", OUTBOUND)
def test_a_withdrawn_entry_serves_nothing_that_goes_out(situation: Situation) -> None:
    assert choose(situation, replace(entry("a"), withdrawn_at=NOW + DAY)).entries == ()


@pytest.mark.parametrize("situation", OPENING)
def test_opening_tries_every_valid_key_the_named_one_first(situation: Situation) -> None:
    found = choose(
        situation,
        entry("a", begins=-20, alias="OTHER", usages=frozenset()),
        entry("b", begins=-2),
        entry("c", begins=-9, slice_=(None, NOW - DAY)),
        named="a" * 64,
    )
    assert marks(found) == "abc"


def test_the_account_in_one_line_begins_with_what_it_was_for() -> None:
    assert choose(selection.SIGNING).line == "outbound signature: there is no certificate at all"
    told = choose(selection.SIGNING, entry("a"), entry("b", active=False)).line
    assert told.startswith("outbound signature: ")
    assert told.count("; ") == 1


def test_confirmed_certificates_narrow_the_choice_until_the_partner_has_the_new_one() -> None:
    old, new = entry("a", begins=-20), entry("b")
    found = choose(selection.SIGNING, old, new, confirmed={"a" * 64})
    assert marks(found) == "a"
    assert "not confirmed by the partner yet" in found.text
    assert marks(choose(selection.SIGNING, old, new, confirmed={"a" * 64, "b" * 64})) == "b"
    assert marks(choose(selection.SIGNING, old, new, confirmed=set())) == "b"
    assert marks(choose(selection.SIGNING, entry("a", ends=-1), new, confirmed={"a" * 64})) == "b"


@pytest.mark.parametrize("situation", [selection.SIGNING, selection.EERP_SIGNING, selection.TLS_CLIENT])
def test_one_under_renewal_waits_for_each_partner_to_confirm_it(situation: Situation) -> None:
    old, new = entry("a", begins=-20), entry("b")
    found = choose(situation, old, new, confirmed=set(), pending={"b" * 64})
    assert marks(found) == "a"
    assert "bbbbbbbbbbbbbbbb: not confirmed by the partner yet" in found.text
    assert marks(choose(situation, old, new, confirmed={"a" * 64}, pending={"b" * 64})) == "a"
    assert marks(choose(situation, old, new, confirmed={"b" * 64}, pending={"b" * 64})) == "b"


def test_one_under_renewal_is_not_shown_to_whom_we_do_not_know_yet() -> None:
    old, new = entry("a", begins=-20), entry("b")
    found = choose(selection.TLS_SERVER, old, new, pending={"b" * 64})
    assert marks(found) == "a"
    assert "bbbbbbbbbbbbbbbb: not confirmed by every partner yet" in found.text
    assert marks(choose(selection.TLS_SERVER, old, new)) == "b"


def test_one_under_renewal_does_not_sign_beside_the_one_before_it() -> None:
    older, old, new = entry("a", begins=-20), entry("b", begins=-5), entry("c", begins=-1)
    assert marks(choose(selection.SIGNING, older, old, new, unsure=2, confirmed=set(), pending={"c" * 64})) == "ba"


def test_one_under_renewal_is_taken_where_nothing_else_would_do() -> None:
    ended, new = entry("a", begins=-20, ends=-1), entry("b")
    assert marks(choose(selection.SIGNING, ended, new, confirmed={"a" * 64}, pending={"b" * 64})) == "b"
    sliced = entry("a", begins=-20, slice_=(None, NOW))
    assert marks(choose(selection.SIGNING, sliced, new, confirmed=set(), pending={"b" * 64})) == "b"


@pytest.mark.parametrize("situation", [selection.ENCRYPTION, *VERIFYING])
def test_keys_that_are_too_short_are_not_used(situation: Situation) -> None:
    short = entry("a", begins=-1)
    short = replace(short, facts=replace(short.facts, key_bits=1024))
    none = entry("b", begins=-1)
    none = replace(none, facts=replace(none.facts, key_bits=None))
    found = choose(situation, short, none, entry("c"), least_bits=2048)
    assert marks(found) == "c"
    assert "its key has 1024 bits, fewer than 2048" in found.text
    assert marks(choose(situation, short, least_bits=1024)) == "a"


def test_where_the_partner_is_known_to_have_none_of_several_as_many_as_asked_for_are_taken() -> None:
    several = entry("a", begins=-20), entry("b", begins=-5), entry("c", begins=-1), entry("d", alias="us@party")
    found = choose(selection.SIGNING, *several, unsure=2)
    assert marks(found) == "cb"
    assert "bbbbbbbbbbbbbbbb: taken too, the partner may not have the newer one yet" in found.text
    assert "aaaaaaaaaaaaaaaa: older" in found.text
    assert marks(choose(selection.SIGNING, *several, unsure=2, confirmed={"e" * 64})) == "cb"
    assert marks(choose(selection.SIGNING, *several, unsure=2, confirmed={"a" * 64})) == "a"
    assert marks(choose(selection.SIGNING, several[0], several[3], unsure=2)) == "a"
    assert choose(selection.SIGNING, entry("a", active=False), unsure=2).taken is None


def test_nothing_at_all_is_said_so() -> None:
    found = select(selection.SIGNING, [], station="STATION", now=NOW)
    assert found.text == "outbound signature: there is no certificate at all"


def test_a_request_is_answered_with_each_certificate_in_use_once() -> None:
    signs = entry("a", usages=frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE}))
    rest = entry("b", usages=frozenset({Usage.ENCRYPTION, Usage.AUTHENTICATION}))
    old = entry("c", begins=-50)
    foreign = entry("d", alias="OTHER")
    found = to_deliver([old, signs, rest, foreign], station="STATION", now=NOW)
    assert found == (signs, rest, old)
    assert to_deliver([], station="STATION", now=NOW) == ()


def test_a_sub_station_delivers_nothing_that_serves_sessions_alone() -> None:
    files = entry("a", usages=frozenset({Usage.SIGNATURE, Usage.ENCRYPTION}))
    challenged = entry("b", usages=frozenset({Usage.AUTHENTICATION}))
    assert to_deliver([files, challenged], station="STATION", now=NOW) == (files, challenged)
    assert to_deliver([files, challenged], station="STATION", now=NOW, sessions=False) == (files,)


def test_a_request_is_answered_with_a_self_signed_certificate_only_where_none_was_issued() -> None:
    own = entry("a", begins=-5)
    own = replace(own, facts=replace(own.facts, issuer=own.facts.subject, self_signed=True))
    issued = entry("b", begins=-50, usages=frozenset({Usage.SIGNATURE}))
    assert to_deliver([own], station="STATION", now=NOW) == (own,)
    assert to_deliver([own, issued], station="STATION", now=NOW) == (issued, own)
