"""Which held certificate an arriving one replaces."""

from __future__ import annotations

from dataclasses import replace

from oftp2.certs.clid import Clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Held, Means, Place, find_predecessor, near_misses
from oftp2.certs.usages import FILE_USAGES, Usage
from tests import pki

SIGNS = frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE})
ENCIPHERS = frozenset({Usage.ENCRYPTION, Usage.AUTHENTICATION})


def facts_of(label: str) -> CertificateFacts:
    return CertificateFacts.of(pki.certificate(label).der)


def held(label: str, key: int = 1, usages: frozenset[Usage] = FILE_USAGES, place: Place = Place.CURRENT) -> Held:
    return Held(key=key, facts=facts_of(label), usages=usages, place=place)


def test_a_renewal_with_equal_data_finds_its_predecessor() -> None:
    match = find_predecessor(facts_of("CA02"), None, [held("CA04"), held("CA01", usages=SIGNS)])
    assert match is not None
    assert match.facts == facts_of("CA01")
    assert match.usages == SIGNS
    assert match.means is Means.EQUAL
    assert f"serial {facts_of('CA01').serial:x}" in match.text
    assert "signature, eerp signature" in match.text


def test_another_subject_finds_no_predecessor_by_itself() -> None:
    assert find_predecessor(facts_of("CA04"), None, [held("CA01")]) is None


def test_a_description_that_names_the_predecessor_heals_another_subject() -> None:
    match = find_predecessor(facts_of("CA04"), Clid.of(facts_of("CA01")), [held("CA01")])
    assert match is not None
    assert match.means is Means.NAMED


def test_a_description_of_an_unknown_certificate_still_finds_one_with_equal_data() -> None:
    described = replace(Clid.of(facts_of("CA01")), serial=99)
    match = find_predecessor(facts_of("CA04"), described, [held("CA02")])
    assert match is not None
    assert match.means is Means.DESCRIBED


def test_a_description_that_fits_nothing_falls_back_to_the_own_data() -> None:
    match = find_predecessor(facts_of("CA02"), Clid.of(facts_of("CB01")), [held("CA01")])
    assert match is not None
    assert match.means is Means.EQUAL


def test_among_several_the_newest_in_use_wins() -> None:
    entries = [
        held("CA03", 3, place=Place.PREVIOUS),
        held("CA02", 2, usages=SIGNS),
        held("CA01", 1, usages=ENCIPHERS),
    ]
    for order in (entries, entries[::-1]):
        match = find_predecessor(pki_renewal(), None, order)
        assert match is not None
        assert match.facts == facts_of("CA02")
        assert match.usages == SIGNS


def pki_renewal() -> CertificateFacts:
    name = pki.certificate("CA01").certificate.subject
    return CertificateFacts.of(pki.make(subject=name, issuer=pki.issuing("A")).der)


def test_the_slots_of_a_certificate_in_several_entries_are_put_together() -> None:
    match = find_predecessor(facts_of("CA02"), None, [held("CA01", 1, usages=SIGNS), held("CA01", 2, usages=ENCIPHERS)])
    assert match is not None
    assert match.usages == SIGNS | ENCIPHERS


def test_a_previous_one_stands_for_the_slots_where_it_sat() -> None:
    match = find_predecessor(
        facts_of("CA04"),
        Clid.of(facts_of("CA01")),
        [held("CA01", usages=SIGNS, place=Place.PREVIOUS), held("CA02", 2)],
    )
    assert match is not None
    assert (match.facts, match.usages) == (facts_of("CA01"), SIGNS)


def test_withdrawn_and_unused_certificates_are_no_predecessors() -> None:
    withdrawn = held("CA01", place=Place.WITHDRAWN)
    unused = held("CA01", usages=frozenset())
    assert find_predecessor(facts_of("CA02"), Clid.of(facts_of("CA01")), [withdrawn, unused]) is None


def test_a_near_miss_tells_what_differs() -> None:
    entries = [held("CA01"), held("CA01", 2), held("CA02", place=Place.PREVIOUS)]
    assert near_misses(facts_of("CB01"), entries) == (
        f"subject and issuer not as in the one with serial {facts_of('CA01').serial:x}",
    )
