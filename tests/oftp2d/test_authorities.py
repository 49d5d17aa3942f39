"""Whom we trust: anchors of ours, of one partner, and the trust list, merged anew as soon as one of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oftp2.certs.acceptance import TrustVerdict
from oftp2.certs.facts import CertificateFacts
from oftp2d import trust
from oftp2d.authorities import Authorities
from oftp2d.certificates import Certificates
from oftp2d.config import RevocationMode
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Ledger, NewPartner, Station
from oftp2d.revocation import Lists
from oftp2d.trustlist import read
from oftp2d.vault import Vault
from tests import pki
from tests.pki import NOW, Issued, Service

ISSUING_A, ROOT_A, ISSUING_B = pki.issuing("A"), pki.root("A"), pki.issuing("B")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    opened.stations.add(Station(code="O0013000001A", name="A", main=True))
    yield opened
    opened.close()


@pytest.fixture
def store(ledger: Ledger) -> Certificates:
    return Certificates(ledger, Vault(bytes(32)))


@pytest.fixture
def authorities(store: Certificates) -> Authorities:
    return store.authorities


def partner(ledger: Ledger, code: str = "O0013000002B", *, alone: bool = False) -> int:
    new = NewPartner(code=code, name="B", station="O0013000001A", only_own_anchors=alone)
    return ledger.partners.add(new, NOW).id


def judged(authorities: Authorities, issued: Issued | str, partner_id: int | None = None) -> TrustVerdict:
    certificate = pki.certificate(issued) if isinstance(issued, str) else issued
    return authorities.trust(partner_id).judge(CertificateFacts.of(certificate.der), (), NOW)


def listing(authorities: Authorities, *services: Service) -> None:
    authorities.take_up(read(pki.trust_list(services), signers=None))


def test_the_issuing_authorities_of_the_trust_list_are_trusted_as_long_as_it_counts(authorities: Authorities) -> None:
    assert judged(authorities, "CA01").text == "no trust anchor is configured"
    listing(authorities, pki.service("A"))
    verdict = judged(authorities, "CA01")
    assert (verdict.trusted, verdict.anchor) == (True, ISSUING_A.fingerprint)
    assert verdict.text.endswith("in the trust list")
    authorities.take_up(None)
    assert not judged(authorities, "CA01").trusted


def test_a_certificate_of_a_root_of_the_trust_list_is_refused_and_told_why(authorities: Authorities) -> None:
    """Odette test case 7.3."""
    listing(authorities, *pki.listed())
    verdict = judged(authorities, "CB05")
    root = CertificateFacts.of(pki.root("B").der).subject
    assert (verdict.trusted, verdict.text) == (
        False,
        f"issued directly by {root}, which the trust list names only to verify its issuing authorities (Hierarchy B)",
    )


def test_a_root_that_is_an_authority_in_an_entry_of_its_own_is_trusted(authorities: Authorities) -> None:
    listing(authorities, pki.service("B"), Service(name="Root", certificates=(pki.root("B"),)))
    assert judged(authorities, "CB05").trusted
    assert judged(authorities, "CB01").trusted


def test_an_authority_outside_the_trust_list_is_refused_and_told_why(authorities: Authorities) -> None:
    """Odette test case 7.2."""
    listing(authorities, *pki.listed())
    verdict = judged(authorities, "CB06")
    outside = CertificateFacts.of(pki.issuing("outside").der).subject
    assert verdict.text == f"its authority {outside} is not in the trust list, and no anchor of ours"


def test_an_authority_whose_status_in_the_trust_list_is_another_is_refused_and_told_why(
    authorities: Authorities,
) -> None:
    listing(authorities, pki.service("A", status=pki.WITHDRAWN), pki.service("B"))
    assert "whose status in the trust list is 'expired'" in judged(authorities, "CA01").text


def test_anchors_of_ours_go_before_the_trust_list_and_stay_without_it(
    store: Certificates, authorities: Authorities
) -> None:
    listing(authorities, *pki.listed())
    store.import_anchors(ROOT_A.pem, now=NOW)
    direct = pki.make(issuer=ROOT_A)
    assert judged(authorities, direct).text.endswith("an anchor of ours"), "also what the list has it for counts less"
    store.import_anchors(ISSUING_A.pem, now=NOW)
    assert judged(authorities, "CA01").text.endswith("an anchor of ours")
    authorities.take_up(None)
    assert judged(authorities, "CA01").trusted


def test_an_authority_that_was_switched_off_here_is_not_trusted_though_it_is_in_the_trust_list(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    listing(authorities, *pki.listed())
    (anchor,) = store.import_anchors(ISSUING_A.pem, now=NOW)
    ledger.certificates.set_active(anchor.id, active=False)
    verdict = judged(authorities, "CA01")
    assert "which is in the trust list, but was switched off here" in verdict.text
    assert judged(authorities, "CB01").trusted
    store.remove(anchor)
    assert judged(authorities, "CA01").trusted


def test_an_anchor_of_a_partner_counts_for_it_alone(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    first, second = partner(ledger), partner(ledger, "O0013000003C")
    store.import_anchors(ISSUING_A.pem, now=NOW, partner_id=first)
    assert judged(authorities, "CA01", first).text.endswith("an anchor of this partner alone")
    assert not judged(authorities, "CA01", second).trusted
    assert not judged(authorities, "CA01").trusted
    assert [entry.fingerprint for entry in authorities.anchors(first)] == [ISSUING_A.fingerprint]
    assert authorities.anchors(second) == authorities.anchors() == ()


def test_for_a_partner_held_to_its_own_anchors_nothing_else_counts(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    store.import_anchors(ISSUING_A.pem, now=NOW)
    listing(authorities, pki.service("B"))
    free = partner(ledger)
    assert (judged(authorities, "CA01", free).trusted, judged(authorities, "CB01", free).trusted) == (True, True)
    held = partner(ledger, "O0013000003C", alone=True)
    verdict = judged(authorities, "CB01", held)
    assert "is none of the anchors of this partner, and only these count for it" in verdict.text
    assert not judged(authorities, "CA01", held).trusted
    store.import_anchors(pki.issuing("outside").pem, now=NOW, partner_id=held)
    assert judged(authorities, "CB06", held).trusted
    assert not judged(authorities, "CA01", held).trusted
    store.import_anchors(ROOT_A.pem, now=NOW, partner_id=held)
    assert not judged(authorities, "CA01", held).trusted
    listing(authorities, pki.service("A"))
    assert judged(authorities, "CA01", held).text.endswith("an anchor of this partner alone"), "the list shows the way"
    ledger.partners.change(held, only_own_anchors=False)
    assert judged(authorities, "CA01", held).trusted


def test_intermediates_of_the_store_and_of_the_list_build_chains(store: Certificates, authorities: Authorities) -> None:
    store.import_anchors(ROOT_A.pem, now=NOW)
    assert not judged(authorities, "CA01").trusted
    listing(authorities, pki.service("A", status=pki.WITHDRAWN))
    assert judged(authorities, "CA01").trusted, "the root is an anchor of ours, and the list shows the way to it"
    authorities.take_up(None)
    store.import_anchors(ROOT_A.pem + ISSUING_A.pem, now=NOW)
    assert judged(authorities, "CA01").trusted


def test_what_was_merged_is_kept_until_something_changes(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    store.import_anchors(ISSUING_A.pem, now=NOW)
    first = authorities.trust()
    assert authorities.trust() is first
    assert authorities.trust(partner(ledger)) is first, "partners without anchors of their own share one"
    (added,) = store.import_anchors(ISSUING_B.pem, now=NOW)
    second = authorities.trust()
    assert second is not first
    ledger.certificates.set_active(added.id, active=False)
    assert all(authorities.trust() is not other for other in (first, second))
    assert [entry.fingerprint for entry in authorities.anchors()] == [ISSUING_A.fingerprint]


def test_what_is_kept_is_bounded(
    ledger: Ledger, store: Certificates, authorities: Authorities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oftp2d.authorities._KEPT", 3)
    for number in range(5):
        held = partner(ledger, f"O001300{number}", alone=True)
        store.import_anchors(ISSUING_A.pem, now=NOW, partner_id=held)
        assert judged(authorities, "CA01", held).trusted
    assert len(authorities._merged) <= 3


def test_whoever_knows_of_revocation_is_asked_of_every_path(store: Certificates, authorities: Authorities) -> None:
    store.import_anchors(ISSUING_A.pem, now=NOW)
    assert judged(authorities, "CA01").trusted
    authorities.bar(lambda path, now: f"{path.certificates[0].subject.common_name} was revoked before {now:%Y}")
    assert judged(authorities, "CA01").text == f"a0.test was revoked before {NOW:%Y}"


def test_an_intermediate_that_was_switched_off_builds_no_chain(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    store.import_anchors(ISSUING_A.pem + ROOT_A.pem, now=NOW)

    def above() -> list[str]:
        found = authorities.trust().path(CertificateFacts.of(pki.certificate("CA01").der), (), NOW)
        assert isinstance(found, trust.Path)
        return [each.fingerprint for each in found.above]

    assert above() == [ROOT_A.fingerprint]
    (between,) = ledger.certificates.list(Holder.INTERMEDIATE)
    ledger.certificates.set_active(between.id, active=False)
    assert above() == []


def test_an_authority_of_the_trust_list_is_the_issuer_of_an_announcement_as_long_as_the_list_names_it(
    ledger: Ledger, store: Certificates, authorities: Authorities
) -> None:
    expected = partner(ledger)

    def issuers() -> list[str]:
        found = store.announced(partner_id=expected, station="O0013000002B")
        return [str(each.identification.issuer) for each in found]

    def announce(issuer: str) -> None:
        store.announce(partner_id=expected, now=NOW, common_name="b.test", issuer=issuer)

    with pytest.raises(OperatorError, match="no certificate is called"):
        announce("OFTP2 Test Issuing B")
    listing(authorities, *pki.listed())
    with pytest.raises(OperatorError, match="no certificate is called"):
        announce("OFTP2 Test Root B")
    announce("oftp2 test issuing b")
    assert issuers() == [str(CertificateFacts.of(ISSUING_B.der).subject)]
    listing(authorities, pki.service("A"))
    assert issuers() == [], "it matches nothing, rather than any issuer"
    listing(authorities, *pki.listed())
    assert len(issuers()) == 1
    announce(f"{ISSUING_A.fingerprint[:2]}:{ISSUING_A.fingerprint[2:12]}")
    assert len(issuers()) == 2


def test_of_several_authorities_with_one_name_the_fingerprint_tells(authorities: Authorities) -> None:
    second = pki.make(subject=ISSUING_A.certificate.subject, ca=True, key_usage=("keyCertSign",), extended=None)
    listing(authorities, Service(name="Two", certificates=(ISSUING_A, second)))
    with pytest.raises(OperatorError, match="2 authorities of the trust list are called"):
        authorities.find("OFTP2 Test Issuing A")
    found = authorities.find(second.fingerprint)
    assert found is not None
    assert found.fingerprint == second.fingerprint


def test_nothing_is_kept_of_certificates_that_were_removed(ledger: Ledger) -> None:
    store = Certificates(ledger, Vault(bytes(32)), lists=Lists(RevocationMode.TOLERATE))
    of_a, of_b = (store.import_anchors(each.pem, now=NOW)[0] for each in (ISSUING_A, ISSUING_B))
    partners = [partner(ledger), partner(ledger, "O0013000003C")]
    theirs = [
        store.import_partner(pki.certificate("CB01").der, partner_id=each, station="O0013000002B", now=NOW)
        for each in partners
    ]
    assert [len(asked) for _, asked in store.asked(theirs, NOW)] == [1, 1]
    kept = store.trust()
    store.prune()
    assert store.trust() is kept
    assert len(store._asked) == 2

    ledger.certificates.remove(of_a.id)
    ledger.certificates.remove(theirs[0].id)
    store.prune()

    assert set(store.authorities._facts) == {of_b.fingerprint}
    assert store.authorities._merged == {}
    assert set(store._asked) == {(partners[1], theirs[1].fingerprint)}
